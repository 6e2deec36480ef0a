#include "base/scalar.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace grpo::inline GRPO_ABI {
namespace {

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

std::size_t count_digits(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  return count;
}

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?, the sign already taken away
bool is_float(std::string_view text) {
  const std::size_t whole = count_digits(text);
  text.remove_prefix(whole);
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    const std::size_t fraction = count_digits(text);
    if (whole + fraction == 0) return false;
    text.remove_prefix(fraction);
  } else if (whole == 0) {
    return false;
  }
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return !text.empty() && count_digits(text) == text.size();
}

template <class T, class... Format>
T read(std::string_view digits, std::string_view shown, Format... format) {
  T value{};
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, format...);
  GRPO_CHECK(result.ec == std::errc(), "number out of range: " + std::string(shown));
  return value;
}

}  // namespace

Json plain_scalar(std::string_view text) {
  if (text.empty() || is_one_of(text, {"~", "null", "Null", "NULL"})) return nullptr;
  if (is_one_of(text, {"true", "True", "TRUE"})) return true;
  if (is_one_of(text, {"false", "False", "FALSE"})) return false;
  if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return std::numeric_limits<double>::quiet_NaN();
  auto is_radix = [&](std::string_view prefix, std::string_view digits) {
    return text.size() > 2 && text.substr(0, 2) == prefix && text.find_first_not_of(digits, 2) == text.npos;
  };
  if (is_radix("0x", "0123456789abcdefABCDEF")) return read<std::int64_t>(text.substr(2), text, 16);
  if (is_radix("0o", "01234567")) return read<std::int64_t>(text.substr(2), text, 8);

  const bool negative = text[0] == '-';
  const std::string_view size = negative || text[0] == '+' ? text.substr(1) : text;
  if (is_one_of(size, {".inf", ".Inf", ".INF"})) {
    const double infinity = std::numeric_limits<double>::infinity();
    return negative ? -infinity : infinity;
  }
  const std::string_view number = negative ? text : size;  // from_chars knows no '+'
  if (!size.empty() && count_digits(size) == size.size()) return read<std::int64_t>(number, text);
  if (is_float(size)) return read<double>(number, text);
  return text;
}

}  // namespace grpo::inline GRPO_ABI
