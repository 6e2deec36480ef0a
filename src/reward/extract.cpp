#include "reward/extract.h"

#include <grpo/reward.h>

#include "reward/rational.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

// The last <name>...</name> with no tag of the same name inside.
std::optional<std::string_view> last_element(std::string_view text, std::string_view name) {
  const std::string open = "<" + std::string(name) + ">";
  const std::string close = "</" + std::string(name) + ">";
  std::optional<std::string_view> last;
  std::size_t begin = kNone;  // after the open tag that waits for its end
  for (std::size_t i = text.find('<'); i != kNone; i = text.find('<', i + 1)) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with(open)) {
      begin = i + open.size();
    } else if (rest.starts_with(close) && begin != kNone) {
      last = text.substr(begin, i - begin);
      begin = kNone;
    }
  }
  return last;
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string ascii_lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// True when the number that ends before `after` goes on as an expression ("5 + 2", "5x", "5\times 2").
bool continues_as_expression(std::string_view after) {
  if (!after.empty() && is_ascii_letter(after.front())) return true;
  while (!after.empty() && after.front() == ' ') after.remove_prefix(1);
  if (after.empty()) return false;
  if (after.front() == '\\') return after.size() > 1 && is_ascii_letter(after[1]);
  return std::string_view("+-*/^=(").find(after.front()) != kNone && !after.starts_with("**");
}

// What stands after the last anchor of `folded`: a number if one starts there, else the rest of the sentence.
std::optional<std::string> after_anchor(const std::string& folded) {
  const std::string lower = ascii_lower(folded);
  std::size_t begin = 0;
  for (const std::string_view phrase : {"answer is", "answer:"}) {
    const std::size_t at = lower.rfind(phrase);
    if (at != kNone) begin = std::max(begin, at + phrase.size());
  }
  if (begin == 0) {
    const std::size_t equals = lower.rfind('=');
    if (equals == kNone) return std::nullopt;
    begin = equals + 1;
  }
  std::string_view rest = std::string_view(folded).substr(begin);
  const std::size_t start = rest.find_first_not_of(" \n*$:`");
  if (start == kNone) return std::nullopt;
  rest.remove_prefix(start);
  const std::size_t length = number_length(rest);
  if (length > 0 && !continues_as_expression(rest.substr(length))) return std::string(rest.substr(0, length));
  const std::string_view sentence = trim(rest.substr(0, std::min(rest.find('\n'), rest.find(". "))));
  if (sentence.empty()) return std::nullopt;
  return std::string(sentence);
}

std::optional<std::string> last_number(std::string_view folded) {
  std::optional<std::string_view> last;
  for (std::size_t i = 0; i < folded.size();) {
    const char before = i > 0 ? folded[i - 1] : ' ';
    const bool in_version = before == '.' && i > 1 && is_digit(folded[i - 2]);  // the 3 of 1.2.3
    const bool in_word = is_ascii_letter(before) || is_digit(before) || before == '_' || in_version;
    const bool may_start = !in_word && !(before == ')' && !is_digit(folded[i]));  // (1)-3: the sign is an operator
    const std::size_t length = may_start ? number_length(folded.substr(i)) : 0;
    if (length > 0) last = folded.substr(i, length);
    i += std::max<std::size_t>(length, 1);
  }
  if (!last) return std::nullopt;
  return std::string(*last);
}

}  // namespace

BoxedAnswer last_boxed(std::string_view text) {
  constexpr std::string_view kBoxed = "\\boxed";
  for (std::size_t at = text.rfind(kBoxed); at != kNone; at = at == 0 ? kNone : text.rfind(kBoxed, at - 1)) {
    const std::size_t brace = text.find_first_not_of(" \t\r\n", at + kBoxed.size());
    if (brace == kNone || text[brace] != '{') continue;
    std::size_t depth = 0;
    for (std::size_t i = brace; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '{') {
        ++depth;
      } else if (text[i] == '}' && --depth == 0) {
        return {true, text.substr(brace + 1, i - brace - 1)};
      }
    }
    return {true, std::nullopt};
  }
  return {};
}

std::optional<std::string> extract_answer(const Segments& segments, std::span<const std::string> extract) {
  if (!segments.has_final) return std::nullopt;
  const std::string_view text = segments.final_segment;
  for (const std::string_view name : {"verifier_answer", "answer"}) {
    if (const auto content = last_element(text, name)) return std::string(trim(*content));
  }
  const BoxedAnswer boxed = last_boxed(text);
  if (boxed.found) return boxed.content ? std::optional<std::string>(trim(*boxed.content)) : std::nullopt;
  if (extract.empty()) return std::nullopt;
  const std::string folded = fold_characters(text);
  for (const std::string& method : extract) {
    GRPO_CHECK(method == "anchor" || method == "last_number",
               "extract_answer: expected 'anchor' or 'last_number', got '" + method + "'");
    auto answer = method == "anchor" ? after_anchor(folded) : last_number(folded);
    if (answer) return answer;
  }
  return std::nullopt;
}

}  // namespace grpo::inline GRPO_ABI
