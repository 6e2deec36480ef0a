#include "reward/prose.h"

#include <cstddef>
#include <utility>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// A forward search that is never repeated in vain: once a marker was not found from some place, it is not there from
// any later place either.
class Finder {
 public:
  Finder(std::string_view text, std::string_view marker) : text_(text), marker_(marker) {}
  std::size_t from(std::size_t position) {
    if (exhausted_) return kNone;
    const std::size_t found = text_.find(marker_, position);
    exhausted_ = found == kNone;
    return found;
  }
  bool exhausted() const { return exhausted_; }

 private:
  std::string_view text_, marker_;
  bool exhausted_ = false;
};

class Stripper {
 public:
  explicit Stripper(std::string_view text)
      : text_(text),
        fence_(text, "```"),
        tick_(text, "`"),
        display_(text, "$$"),
        paren_(text, "\\)"),
        bracket_(text, "\\]"),
        end_(text, "\\end{"),
        brace_(text, "}") {
    out_.reserve(text.size());
  }

  std::string run() {
    while (at_ < text_.size()) {
      if (!skip_code() && !skip_formula() && !skip_command() && !skip_tag()) out_ += text_[at_++];
    }
    return std::move(out_);
  }

 private:
  bool starts(std::string_view piece) const { return text_.substr(at_).starts_with(piece); }
  void jump(std::size_t to) {
    out_ += ' ';
    at_ = to;
  }

  bool skip_code() {
    if (starts("```")) {
      const std::size_t end = fence_.from(at_ + 3);
      jump(end == kNone ? text_.size() : end + 3);  // an open fence runs to the end
      return true;
    }
    if (!starts("`")) return false;
    const std::size_t end = tick_.from(at_ + 1);
    if (end == kNone || text_.substr(at_, end - at_).find('\n') != kNone) {
      at_ += 1;
    } else {
      jump(end + 1);
    }
    return true;
  }

  // Copies the \text{} content of the formula in [at_ + open, end) and goes on at `next`.
  void take_formula(std::size_t open, std::size_t end, std::size_t next) {
    std::string_view formula = text_.substr(at_ + open, end - at_ - open);
    std::size_t depth = 0;  // of braces inside a \text{; 0: outside
    for (std::size_t i = 0; i < formula.size();) {
      const std::string_view rest = formula.substr(i);
      const std::size_t command = rest.starts_with("\\text{") ? 6 : rest.starts_with("\\mbox{") ? 6 : 0;
      if (depth == 0 && command > 0) {
        depth = 1;
        out_ += ' ';
        i += command;
        continue;
      }
      const char c = formula[i];
      if (depth > 0 && c == '{') ++depth;
      if (depth > 0 && c == '}') --depth;
      if (depth > 0) out_ += c;
      ++i;
    }
    jump(next);
  }

  bool take_between(std::string_view open, Finder& close, std::size_t close_size) {
    const std::size_t end = close.from(at_ + open.size());
    if (end == kNone) {
      at_ += open.size();
    } else {
      take_formula(open.size(), end, end + close_size);
    }
    return true;
  }

  bool skip_formula() {
    if (starts("$$")) return take_between("$$", display_, 2);
    if (starts("\\(")) return take_between("\\(", paren_, 2);
    if (starts("\\[")) return take_between("\\[", bracket_, 2);
    if (starts("\\begin{")) {
      const std::size_t end = brace_.exhausted() ? kNone : end_.from(at_ + 7);
      const std::size_t closed = end == kNone ? kNone : brace_.from(end);
      if (closed == kNone) return false;
      take_formula(7, end, closed + 1);
      return true;
    }
    if (starts("\\$")) {
      at_ += 2;
      return true;
    }
    if (!starts("$")) return false;
    const std::size_t end = inline_end();
    if (end == kNone) {
      at_ += 1;
    } else {
      take_formula(1, end, end + 1);
    }
    return true;
  }

  // The $ that closes the one here: in the same paragraph, no space inside either $, no digit after it ("$5 and $6").
  std::size_t inline_end() {
    if (at_ < no_inline_end_before_ || at_ + 1 >= text_.size() || is_space(text_[at_ + 1])) return kNone;
    std::size_t i = at_ + 1;
    for (; i < text_.size() && !(text_[i] == '\n' && i + 1 < text_.size() && text_[i + 1] == '\n'); ++i) {
      if (text_[i] != '$' || text_[i - 1] == '\\' || is_space(text_[i - 1]) || i == at_ + 1) continue;
      if (i + 1 < text_.size() && is_digit(text_[i + 1])) continue;
      return i;
    }
    no_inline_end_before_ = i;  // nor for any later $ of this paragraph
    return kNone;
  }

  bool skip_command() {
    if (!starts("\\")) return false;
    std::size_t end = at_ + 1;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    jump(end);
    return true;
  }

  bool skip_tag() {
    if (!starts("<")) return false;
    for (const std::string_view tag : {"<think>", "</think>", "<answer>", "</answer>"}) {
      if (!starts(tag)) continue;
      jump(at_ + tag.size());
      return true;
    }
    return false;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
  Finder fence_, tick_, display_, paren_, bracket_, end_, brace_;
  std::size_t no_inline_end_before_ = 0;
};

}  // namespace

std::string prose_of(std::string_view text) { return Stripper(text).run(); }

}  // namespace grpo::inline GRPO_ABI
