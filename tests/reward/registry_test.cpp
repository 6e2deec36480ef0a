#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::entry;
using test::error_of;
using test::FunctionReward;
using test::group;
using test::Group;
using test::reward_set;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Brevity final : Reward {
  double limit;
  explicit Brevity(double most) : limit(most) {}
  std::string_view name() const override { return "brevity"; }
  double score(const RewardInput& in) const override {
    return static_cast<double>(in.final_answer().size()) < limit ? 1.0 : 0.0;
  }
};

TEST(RegisterReward, MakesATypeForConfigs) {
  register_reward("brevity", [](const std::string& name, const Json& params) {
    constexpr std::string_view kAllowed[] = {"limit"};
    check_params(name, params, kAllowed);
    const Json* limit = params.find("limit");
    return std::make_unique<Brevity>(limit ? limit->as_double() : 40);
  });
  RewardEntry settings = entry("short", "brevity", Json(Json::Object{{"limit", 2}}));
  settings.weight = 0.2;
  RewardSet set = reward_set({settings});
  EXPECT_EQ(set.name(0), "short");
  const auto scores = set.score(std::vector<Group>{group({"<answer>5</answer>", "<answer>55</answer>"})}, true);
  EXPECT_EQ(scores[0].totals, (std::vector<double>{0.2, 0}));
  const auto types = reward_types();
  EXPECT_NE(std::find(types.begin(), types.end(), "brevity"), types.end());
  EXPECT_NE(error_of([] {
              reward_set({entry("brevity", "", Json(Json::Object{{"limits", 2}}))});
            }).find("did you mean \"limit\"?"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              register_reward("brevity", [](const std::string&, const Json&) { return nullptr; });
            }).find("registered already"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              register_reward("accuracy", [](const std::string&, const Json&) { return nullptr; });
            }).find("registered already"),
            std::string::npos);
  EXPECT_THROW(register_reward("", [](const std::string&, const Json&) { return nullptr; }), Error);
  EXPECT_THROW(register_reward("none", nullptr), Error);
}

TEST(RegisterReward, FactoryThatReturnsNothing) {
  register_reward("empty_factory", [](const std::string&, const Json&) { return nullptr; });
  EXPECT_NE(error_of([] { reward_set({entry("empty_factory")}); }).find("returned null"), std::string::npos);
}

TEST(Reward, DefaultsWrapScore) {
  const FunctionReward reward("r", [](const RewardInput& in) { return in.completion().empty() ? kNaN : 0.5; });
  EXPECT_EQ(reward.judge(test::input("a")).score, 0.5);
  EXPECT_EQ(reward.judge(test::input("")).verdict, "missing");
  const std::vector<RewardInput> inputs = {test::input("a"), test::input("b")};
  EXPECT_EQ(reward.score_group(inputs).size(), 2u);
  EXPECT_TRUE(reward.applies(inputs[0]));
  EXPECT_EQ(reward.range().min, 0);
  EXPECT_EQ(reward.range().max, 1);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
