#include <limits>
#include <numeric>

#include "reward/rational.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxDigits = 18;  // of what surely fits 64 bits

// Divides `n` by `prime` while it can; returns how often.
std::int64_t take_out(std::uint64_t& n, std::uint64_t prime) {
  std::int64_t times = 0;
  for (; n % prime == 0; ++times) n /= prime;
  return times;
}

// Moves powers of `prime` from the exponent into the numerator, or the denominator, as far as 64 bits go.
void put_back(std::uint64_t& num, std::uint64_t& den, std::uint64_t prime, std::int64_t& exponent) {
  std::uint64_t& part = exponent > 0 ? num : den;
  const std::int64_t step = exponent > 0 ? -1 : 1;
  for (; exponent != 0 && part <= std::numeric_limits<std::uint64_t>::max() / prime; exponent += step) part *= prime;
}

std::string power(const char* base, std::int64_t exponent) {
  return exponent == 0 ? "" : base + std::to_string(exponent);
}

std::string fraction(bool negative, const std::string& num, const std::string& den) {
  return (negative ? "-" : "") + num + (den == "1" ? "" : "/" + den);
}

}  // namespace

std::string lowest_terms(const Rational& r) {
  if (r.num == "0") return "0";
  if (r.num.size() > kMaxDigits || r.den.size() > kMaxDigits)
    return fraction(r.negative, r.num, r.den) + power("e", r.exp10);
  // num / den * 2^twos * 5^fives with coprime parts, free of 2 and 5: one form of each value.
  std::uint64_t num = std::stoull(r.num), den = std::stoull(r.den);
  const std::uint64_t divisor = std::gcd(num, den);
  num /= divisor;
  den /= divisor;
  std::int64_t twos = r.exp10 + take_out(num, 2) - take_out(den, 2);
  std::int64_t fives = r.exp10 + take_out(num, 5) - take_out(den, 5);
  put_back(num, den, 2, twos);
  put_back(num, den, 5, fives);
  return fraction(r.negative, std::to_string(num), std::to_string(den)) + power("*2^", twos) + power("*5^", fives);
}

}  // namespace grpo::inline GRPO_ABI
