#include <gtest/gtest.h>

#include "reward/rational.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::string lowest(const std::string& text) {
  const NumberResult result = parse_number(text);
  return result.number ? lowest_terms(result.number->value) : "no number";
}

TEST(LowestTerms, AreThoseOfTheValue) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"0", "0"},
           {"-0.00", "0"},
           {"7", "7"},
           {"1,200", "1200"},
           {"0.5", "1/2"},
           {"2/4", "1/2"},
           {"-6/-4", "3/2"},
           {"-0.125", "-1/8"},
           {"2 1/3", "7/3"},
           {"7/3", "7/3"},
           {"0.07", "7/100"},
           {"1.5e3", "1500"},
           {"3/0.06", "50"},
           {"33/111", "11/37"},
           {"999999999999999999/3", "333333333333333333"},
       })
    EXPECT_EQ(lowest(text), expected) << text;
}

TEST(LowestTerms, HaveOneFormAtAnySize) {
  EXPECT_EQ(lowest("1e400"), lowest("10e399"));
  EXPECT_EQ(lowest("1e400"), lowest("2e400/2"));
  EXPECT_NE(lowest("1e400"), lowest("1e401"));
  EXPECT_EQ(lowest("1/2e30"), lowest("0.5e-30"));
  EXPECT_EQ(lowest("-1e-999999999999999"), lowest("-0.1e-999999999999998"));
  const std::string digits = "12345678901234567890123456789";
  EXPECT_EQ(lowest(digits), digits);
  EXPECT_EQ(lowest("0." + digits), digits + "e-29");
  EXPECT_EQ(lowest("1/" + digits), "1/" + digits);
}

// The same text exactly for equal values, over all fractions of small parts and some powers of ten.
TEST(LowestTerms, SeparateWhatEqualSeparates) {
  std::vector<Rational> values;
  for (int num = 0; num <= 12; ++num)
    for (int den = 1; den <= 12; ++den)
      for (const char* exponent : {"", "e-2", "e1", "e25"})
        values.push_back(parse_number(std::to_string(num) + exponent + "/" + std::to_string(den)).number.value().value);
  ASSERT_EQ(values.size(), 13u * 12u * 4u);
  for (const Rational& a : values)
    for (const Rational& b : values) ASSERT_EQ(lowest_terms(a) == lowest_terms(b), equal(a, b)) << lowest_terms(a);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
