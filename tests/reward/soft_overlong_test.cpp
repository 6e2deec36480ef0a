#include <gtest/gtest.h>

#include <cmath>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::entry;
using test::error_of;
using test::judge;
using test::reward_set;

Verdict verdict_of(const std::string& params, std::size_t tokens) {
  RewardSet set = reward_set({entry("soft_overlong", "", parse_yaml(params))});
  auto made = data("text");
  made->token_ids.assign(tokens, 3);
  return judge(set, made);
}

TEST(SoftOverlong, FallsLinearlyInsideTheCache) {
  const std::string params = "{max_completion_length: 100, soft_punish_cache: 20}";
  EXPECT_EQ(verdict_of(params, 1).score, 0);
  EXPECT_EQ(verdict_of(params, 80).score, 0);
  EXPECT_EQ(verdict_of(params, 81).score, -0.05);
  EXPECT_EQ(verdict_of(params, 90).score, -0.5);
  EXPECT_EQ(verdict_of(params, 100).score, -1);
  EXPECT_EQ(verdict_of(params, 101).score, -1);
  EXPECT_EQ(verdict_of(params, 5000).verdict, "overlong");
}

TEST(SoftOverlong, WithoutCacheIsAStep) {
  const std::string params = "{max_completion_length: 100, soft_punish_cache: 0}";
  EXPECT_EQ(verdict_of(params, 100).score, 0);
  EXPECT_EQ(verdict_of(params, 101).score, -1);
}

TEST(SoftOverlong, NeedsTokens) {
  EXPECT_TRUE(std::isnan(verdict_of("{max_completion_length: 9, soft_punish_cache: 3}", 0).score));
}

TEST(SoftOverlong, ParamsAreChecked) {
  auto error = [](const std::string& params) {
    return error_of([&] { reward_set({entry("soft_overlong", "", parse_yaml(params, "run.yaml"))}); });
  };
  EXPECT_EQ(error("{max_completion_length: 100}"),
            "run.yaml:1:1: rewards.soft_overlong.params.soft_punish_cache: expected a value (integer >= 0), got none");
  EXPECT_EQ(
      error("{max_completion_length: 10, soft_punish_cache: 20}"),
      "run.yaml:1:48: rewards.soft_overlong.params.soft_punish_cache: expected at most max_completion_length (10), "
      "got 20");
  EXPECT_EQ(error("{max_completion_length: 0}"),
            "run.yaml:1:25: rewards.soft_overlong.params.max_completion_length: expected an integer >= 1, got 0");
  EXPECT_EQ(error("{max_completion_lengths: 1}"),
            "run.yaml:1:26: rewards.soft_overlong.params.max_completion_lengths: unknown key (did you mean "
            "\"max_completion_length\"?)");
  EXPECT_NE(error_of([] { reward_set({entry("soft_overlong")}); }), "");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
