// Exact rational numbers as people and models write them. No floating point, no expansion of powers of ten: the work
// is linear in the text, whatever the digits say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace grpo::inline GRPO_ABI {

// (negative ? -1 : 1) * num / den * 10^exp10, with num and den free of leading and trailing zeros. Zero is 0/1.
struct Rational {
  bool negative = false;
  std::string num = "0";
  std::string den = "1";
  std::int64_t exp10 = 0;
};

// Exact. Integers and decimals of any length are compared in linear time; different denominators are multiplied out
// only up to kMaxFractionDigits digits a part, beyond that the numbers count as different.
constexpr std::size_t kMaxFractionDigits = 4096;
bool equal(const Rational& a, const Rational& b);

// "-3/4": the same text for equal values, as long as numerator and denominator have at most 18 digits as they are
// written; longer ones are equal when they are written with the same digits.
std::string lowest_terms(const Rational& r);

struct ParsedNumber {
  Rational value;
  bool is_percent = false;  // "5%": value 5
};
enum class NumberFault { None, NotANumber, ZeroDenominator, OverLimit };
struct NumberResult {
  std::optional<ParsedNumber> number;
  NumberFault fault = NumberFault::None;
};
// The whole of `text` (after fold_characters): sign, digits with thousands separators, decimals, e or \times 10^
// exponents of at most 15 digits, a/b, \frac{a}{b}, mixed numbers, percent sign.
NumberResult parse_number(std::string_view text);

// Bytes of the plain number ("-1,234.5", "3/4", "1e5", "50%") at the front of `text`; 0 when there is none.
std::size_t number_length(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
