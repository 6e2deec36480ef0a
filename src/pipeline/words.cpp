#include "pipeline/words.h"

#include "reward/scripts.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::string_view kSigns = "+-*/^%=<>";
constexpr std::string_view kSpace = " \n";  // all that fold_characters leaves

bool is_ideograph(std::int32_t code) {
  if (code < 0x80 || !is_letter(code)) return false;
  const Script script = script_of(code);
  return script == Script::Han || script == Script::Kana;
}

// Whether the character at `i` stands for arithmetic: a sign beside a digit (`after_digit`: behind one), not doubled as
// in "**bold**" and "--".
bool is_sign(std::string_view text, std::size_t i, bool after_digit) {
  const char sign = text[i];
  if (kSigns.find(sign) == std::string_view::npos) return false;
  if ((i > 0 && text[i - 1] == sign) || (i + 1 < text.size() && text[i + 1] == sign)) return false;
  const std::size_t next = text.find_first_not_of(kSpace, i + 1);
  return after_digit || (next != std::string_view::npos && is_number(code_point_at(text, next).value));
}

}  // namespace

std::vector<std::string> words_of(std::string_view raw) {
  const std::string folded = fold_characters(raw);
  const std::string_view text = folded;
  std::vector<std::string> words;
  std::size_t begin = 0;  // of the word at hand
  const auto end_word = [&](std::size_t end) {
    if (end > begin) words.push_back(fold_case(text.substr(begin, end - begin)));
  };
  bool after_digit = false;  // the last visible character was one
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    const std::size_t next = i + point.length;
    const std::string_view character = text.substr(i, point.length);
    const bool is_digit = is_number(point.value);
    const bool is_alone = is_ideograph(point.value) || is_sign(text, i, after_digit);
    if (is_alone || !(is_digit || is_letter(point.value) || is_mark(point.value))) {
      end_word(i);
      if (is_alone) words.emplace_back(character);
      begin = next;
    }
    if (kSpace.find(character) == std::string_view::npos) after_digit = is_digit;
    i = next;
  }
  end_word(text.size());
  return words;
}

}  // namespace grpo::inline GRPO_ABI
