#include <grpo/pipeline.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/tensors.h"

namespace grpo::testing {
namespace {

Evaluation with(std::vector<Evaluation::Problem> problems) {
  Evaluation evaluation;
  evaluation.problems = std::move(problems);
  return evaluation;
}

TEST(Compare, PairsTheProblems) {
  // Differences 0.5, 0.25, -0.25, 0, 0.5: mean 0.2, squares about it 0.09 + 0.0025 + 0.2025 + 0.04 + 0.09 = 0.425.
  const Evaluation before = with({{0, 0.25}, {3, 0.5}, {4, 1}, {7, 0.75}, {9, 0}});
  const Evaluation after = with({{9, 0.5}, {0, 0.75}, {3, 0.75}, {4, 0.75}, {7, 0.75}});
  const Comparison change = compare(before, after);
  EXPECT_EQ(change.n, 5);
  EXPECT_DOUBLE_EQ(change.difference, 0.2);
  EXPECT_DOUBLE_EQ(change.standard_error, std::sqrt(0.425 / 4 / 5));
  EXPECT_EQ(change.better, 3);
  EXPECT_EQ(change.worse, 1);
  EXPECT_DOUBLE_EQ(change.p_value, 0.625);  // 2 (1 + 4) / 2^4
  const Comparison back = compare(after, before);
  EXPECT_DOUBLE_EQ(back.difference, -0.2);
  EXPECT_DOUBLE_EQ(back.standard_error, change.standard_error);
  EXPECT_EQ(back.better, 1);
  EXPECT_EQ(back.worse, 3);
  EXPECT_EQ(to_json(change).dump(), "{\"n\": 5, \"pass@1\": " + Json(change.difference).dump() +
                                        ", \"stderr\": " + Json(change.standard_error).dump() +
                                        ", \"better\": 3, \"worse\": 1, \"p_value\": " + Json(change.p_value).dump() +
                                        "}");
}

TEST(Compare, TakesTheProblemsInBoth) {
  const Comparison change = compare(with({{1, 0}, {2, 1}, {5, 0}}), with({{2, 0.5}, {3, 1}, {4, 1}}));
  EXPECT_EQ(change.n, 1);
  EXPECT_EQ(change.difference, -0.5);
  EXPECT_EQ(change.standard_error, 0);
  EXPECT_EQ(error_of([] {
              compare(with({{1, 0}}), with({{2, 0}}));
            }),
            "compare: expected evaluations of the same problems, got none in common");
}

double p_value(int better, int worse, int same = 0) {
  std::vector<Evaluation::Problem> before, after;
  for (int i = 0; i < better + worse + same; ++i) {
    before.push_back({static_cast<std::uint64_t>(i), i < better ? 0.25 : i < better + worse ? 0.75 : 0.5});
    after.push_back({static_cast<std::uint64_t>(i), 0.5});
  }
  return compare(with(before), with(after)).p_value;
}

TEST(Compare, HasTheSignTestsValue) {
  EXPECT_EQ(p_value(0, 0, 3), 1);
  EXPECT_EQ(p_value(4, 4), 1);
  EXPECT_NEAR(p_value(5, 0, 7), 2.0 / 32, 1e-14);
  EXPECT_NEAR(p_value(0, 5), 2.0 / 32, 1e-14);
  EXPECT_NEAR(p_value(8, 1), 2.0 * (1 + 9) / 512, 1e-14);
  EXPECT_NEAR(p_value(7, 3), 2.0 * (1 + 10 + 45 + 120) / 1024, 1e-14);
  EXPECT_NEAR(p_value(2, 1), 1, 1e-14);
  EXPECT_NEAR(p_value(1001, 999), 0.9821609888541457, 1e-10);  // 1 - C(2000, 1000) / 2^2000; 2^-2000 is no double
}

}  // namespace
}  // namespace grpo::testing
