#include "text/pretokenize_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {
namespace {

// Backtracking steps of one match: enough for a pattern that is linear in the text, far from an exponential one.
constexpr std::uint64_t kBaseSteps = 1'000'000;
constexpr std::uint64_t kStepsPerByte = 8;
constexpr std::uint32_t kHeapKib = 64 * 1024;
constexpr std::uint32_t kDepth = 1'000'000;
constexpr std::size_t kJitStackBytes = std::size_t{16} << 20;

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
};

struct Regex::Scratch::Impl {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = nullptr;  // made when a match asks for more than PCRE2's own 32 KiB

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
};

Regex::Scratch::Scratch() : impl_(std::make_unique<Impl>()) { GRPO_ASSERT(impl_->data && impl_->context); }
Regex::Scratch::~Scratch() = default;

Regex::Regex(std::string_view pattern, std::string where) : where_(std::move(where)) {
  const std::string translated = translate_pattern(pattern, where_);
  auto code = std::make_shared<Code>();
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  GRPO_ASSERT(context);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  GRPO_CHECK(code->code,
             where_ + ": regular expression: " + error_text(error) + ": " + std::string(pattern.substr(0, 200)));
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // where it cannot, PCRE2 interprets
  code_ = std::move(code);
}

bool Regex::search(std::string_view text, std::size_t from, Scratch& scratch, Span& match) const {
  Scratch::Impl& memory = *scratch.impl_;
  auto run = [&] {
    return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, PCRE2_NO_UTF_CHECK,
                       memory.data, memory.context);
  };
  int result = run();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && !memory.stack) {
    memory.stack = pcre2_jit_stack_create(64 * 1024, kJitStackBytes, nullptr);
    pcre2_jit_stack_assign(memory.context, nullptr, memory.stack);
    result = run();
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  GRPO_CHECK(result >= 0, where_ + ": regular expression: " + error_text(result) + " on a text of " +
                              std::to_string(text.size()) + " bytes (a pattern that backtracks too much?)");
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(memory.data);
  match = {offsets[0], offsets[1]};
  return true;
}

void Regex::find_all(std::string_view text, Scratch& scratch, std::vector<Span>& matches) const {
  const std::uint64_t steps = std::min<std::uint64_t>(kBaseSteps + kStepsPerByte * text.size(), UINT32_MAX);
  pcre2_set_match_limit(scratch.impl_->context, static_cast<std::uint32_t>(steps));
  pcre2_set_heap_limit(scratch.impl_->context, kHeapKib);
  pcre2_set_depth_limit(scratch.impl_->context, kDepth);
  std::size_t from = 0;
  std::size_t last_end = std::string_view::npos;
  Span match;
  while (from <= text.size() && search(text, from, scratch, match)) {
    if (match.begin == match.end && match.end == last_end) {  // go on behind the next character
      do ++from;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
      continue;
    }
    matches.push_back(match);
    from = last_end = match.end;
  }
}

}  // namespace grpo::inline GRPO_ABI
