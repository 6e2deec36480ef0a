#include "reward/answer.h"

#include <algorithm>

#include "base/utf8.h"
#include "reward/extract.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kNone = std::string_view::npos;
constexpr int kMaxWrappers = 32;  // each costs one pass over the text

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Drops commands that only change how a formula looks.
std::string without_layout(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    if (text[i] == '\\') {
      for (const std::string_view command : {"\\left", "\\right", "\\displaystyle"}) {
        const std::size_t end = i + command.size();
        if (text.substr(i).starts_with(command) && (end >= text.size() || !is_letter(text[end]))) {
          length = command.size();
        }
      }
    }
    if (length == 0) out += text[i];
    i += std::max<std::size_t>(length, 1);
  }
  return out;
}

// Index of the brace that closes the one at `open`; kNone when there is none.
std::size_t closing_brace(std::string_view text, std::size_t open) {
  std::size_t depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return i;
    }
  }
  return kNone;
}

bool has_balanced_braces(std::string_view text) {
  std::size_t depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}') {
      if (depth == 0) return false;
      --depth;
    }
  }
  return depth == 0;
}

bool unwrap_pair(std::string_view& text, std::string_view open, std::string_view close) {
  if (text.size() < open.size() + close.size() || !text.starts_with(open) || !text.ends_with(close)) return false;
  text = text.substr(open.size(), text.size() - open.size() - close.size());
  return true;
}

// {...}, \boxed{...}, \text{...} and the like around the whole text.
bool unwrap_braces(std::string_view& text) {
  if (!text.ends_with('}')) return false;
  for (const std::string_view command :
       {"", "\\boxed", "\\fbox", "\\text", "\\textbf", "\\textit", "\\textrm", "\\mathrm", "\\mathbf", "\\mbox"}) {
    if (!text.starts_with(command)) continue;
    const std::size_t open = text.find_first_not_of(' ', command.size());
    if (open == kNone || text[open] != '{' || closing_brace(text, open) != text.size() - 1) continue;
    text = text.substr(open + 1, text.size() - open - 2);
    return true;
  }
  return false;
}

bool unwrap_choice(std::string_view& text) {  // (C) of a multiple choice
  if (text.size() != 3 || text[0] != '(' || !is_letter(text[1]) || text[2] != ')') return false;
  text = text.substr(1, 1);
  return true;
}

bool unwrap_ends(std::string_view& text) {
  const std::string_view before = text;
  while (text.size() > 1 && (text.ends_with('.') || text.ends_with("\\ ") || text.ends_with("\\,"))) {
    text = trim(text.substr(0, text.size() - (text.ends_with('.') ? 1 : 2)));
  }
  // A currency sign: no second $ closes it.
  const std::size_t sign = text.starts_with("\\$") ? 2 : text.starts_with('$') && text.find('$', 1) == kNone ? 1 : 0;
  if (sign > 0 && text.size() > sign && (is_digit(text[sign]) || text[sign] == '.' || text[sign] == '-')) {
    text.remove_prefix(sign);
  }
  return text.size() != before.size();
}

std::string_view unwrap(std::string_view text) {
  for (int i = 0; i < kMaxWrappers; ++i) {
    text = trim(text);
    const bool changed = unwrap_ends(text) || unwrap_pair(text, "$$", "$$") || unwrap_pair(text, "$", "$") ||
                         unwrap_pair(text, "\\(", "\\)") || unwrap_pair(text, "\\[", "\\]") ||
                         unwrap_pair(text, "**", "**") || unwrap_pair(text, "`", "`") ||
                         unwrap_pair(text, "\"", "\"") || unwrap_braces(text) || unwrap_choice(text);
    if (!changed) break;
  }
  return text;
}

// "x", "x_1", "total": one word that a value can be assigned to.
bool is_variable(std::string_view text) {
  if (text.empty() || !is_letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

// Only numbers and operators, so that what follows "=" is its value ("3 \times 4" of "3 \times 4 = 12").
bool is_arithmetic(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '\\') {
      std::size_t end = i + 1;
      while (end < text.size() && is_letter(text[end])) ++end;
      const std::string_view command = text.substr(i + 1, end - i - 1);
      if (command != "times" && command != "cdot" && command != "div" && command != "frac" && !command.empty()) {
        return false;
      }
      i = std::max(end, i + 2);
    } else if (std::string_view("0123456789 +-*/^().,{}").find(text[i]) != kNone) {
      ++i;
    } else {
      return false;
    }
  }
  return !text.empty();
}

// Splits "x = ... = value"; other equations ("2x + z = 1") stay whole.
std::string_view take_assignment(std::string_view text, std::string& variable) {
  const std::size_t first = text.find('=');
  if (first == kNone) return text;
  const std::string_view left = unwrap(text.substr(0, first));
  if (is_variable(left)) {
    variable = left;
  } else if (!is_arithmetic(left)) {
    return text;
  }
  return unwrap(text.substr(text.rfind('=') + 1));
}

// Spaces stay only between two letters or digits, one each.
std::string without_optional_space(std::string_view text) {
  auto is_wordy = [](char c) { return is_letter(c) || is_digit(c) || static_cast<unsigned char>(c) >= 0x80; };
  std::string out;
  bool pending = false;
  for (const char c : text) {
    if (c == ' ' || c == '\n') {
      pending = true;
      continue;
    }
    if (pending && !out.empty() && is_wordy(out.back()) && is_wordy(c)) out += ' ';
    pending = false;
    out += c;
  }
  return out;
}

}  // namespace

Answer parse_answer(std::string_view raw) {
  Answer answer;
  if (find_invalid_utf8(raw) != raw.size()) answer.fault = "text is not valid UTF-8";
  const std::string folded = without_layout(fold_characters(raw));
  std::string_view text = unwrap(folded);
  const BoxedAnswer boxed = last_boxed(text);
  if (boxed.found && boxed.content) text = unwrap(*boxed.content);
  if (!has_balanced_braces(text)) answer.fault = "unbalanced braces";
  text = take_assignment(text, answer.variable);
  if (text.empty()) answer.fault = "no answer";
  NumberResult result = parse_number(text);
  if (result.fault == NumberFault::ZeroDenominator) answer.fault = "denominator is 0";
  if (result.fault == NumberFault::OverLimit) answer.fault = "exponent has more than 15 digits";
  answer.number = std::move(result.number);
  if (!answer.number) answer.text = fold_case(without_optional_space(text));
  return answer;
}

bool same_answer(const Answer& gold, const Answer& predicted) {
  if (!gold.variable.empty() && !predicted.variable.empty() && gold.variable != predicted.variable) return false;
  if (!gold.number || !predicted.number) {
    return !gold.number && !predicted.number && !gold.text.empty() && gold.text == predicted.text;
  }
  if (equal(gold.number->value, predicted.number->value)) return true;
  if (!gold.number->is_percent || predicted.number->is_percent) return false;
  Rational hundredth = gold.number->value;
  if (hundredth.num != "0") hundredth.exp10 -= 2;
  return equal(hundredth, predicted.number->value);
}

}  // namespace grpo::inline GRPO_ABI
