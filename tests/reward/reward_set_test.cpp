#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::add;
using test::data;
using test::entry;
using test::error_of;
using test::FunctionReward;
using test::group;
using test::Group;
using test::kind_of;
using test::length;
using test::reward_set;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(RewardSet, WeighsAndAdds) {
  RewardSet set = reward_set({});
  set.add(std::make_unique<FunctionReward>("length", length), 2.0);
  set.add(std::make_unique<FunctionReward>("one", [](const RewardInput&) { return 1.0; }), -0.5);
  EXPECT_EQ(set.size(), 2u);
  EXPECT_EQ(set.name(1), "one");
  EXPECT_EQ(set.weight(0, 7), 2.0);
  const auto scores = set.score(std::vector<Group>{group({"a", "bbb"}), group({"cc"}), {}}, true);
  ASSERT_EQ(scores.size(), 3u);
  EXPECT_DOUBLE_EQ(scores[0].totals[0], 2 * 0.1 - 0.5);
  EXPECT_DOUBLE_EQ(scores[0].totals[1], 2 * 0.3 - 0.5);
  EXPECT_DOUBLE_EQ(scores[1].totals[0], 2 * 0.2 - 0.5);
  EXPECT_DOUBLE_EQ(scores[0].verdicts[1][0].score, 0.3);
  EXPECT_EQ(scores[0].verdicts[1][0].verdict, "scored");
  EXPECT_EQ(scores[0].applies, (std::vector<std::uint8_t>{1, 1}));
  EXPECT_TRUE(scores[2].totals.empty());
  EXPECT_EQ(set.failures().at("length").scored, 3);
  EXPECT_EQ(set.failures().at("length").out_of_range, 0);
}

TEST(RewardSet, WhenChoosesGroups) {
  RewardEntry settings;
  settings.when = Json(Json::Object{{"source", Json(Json::List{"math", "code"})}, {"level", 2}});
  RewardSet set = reward_set({});
  add(set, "length", length, settings);
  auto row = [](const char* source, Json level) {
    auto made = data("abcde");
    made->columns = Json(Json::Object{{"source", source}, {"level", std::move(level)}});
    return Group{made};
  };
  const auto scores = set.score(
      std::vector<Group>{row("math", 2), row("math", 3), row("prose", 2), row("code", 2.0), group({"abcde"})}, true);
  EXPECT_EQ(scores[0].totals[0], 0.5);
  EXPECT_EQ(scores[3].totals[0], 0.5);  // 2.0 is 2
  for (const int g : {1, 2, 4}) {
    EXPECT_EQ(scores[g].applies[0], 0) << g;
    EXPECT_EQ(scores[g].verdicts[0][0].verdict, "absent");
    EXPECT_TRUE(std::isnan(scores[g].totals[0])) << "nothing scores this answer";
  }
  EXPECT_EQ(set.failures().at("length").scored, 2);
}

TEST(RewardSet, AppliesDecidesForTheGroup) {
  class Picky final : public Reward {
   public:
    std::string_view name() const override { return "picky"; }
    double score(const RewardInput&) const override { return 1; }
    bool applies(const RewardInput& input) const override { return input.completion() == "yes"; }
  };
  RewardSet set = reward_set({});
  set.add(std::make_unique<Picky>());
  add(set, "zero", [](const RewardInput&) { return 0.0; });
  const auto scores = set.score(std::vector<Group>{group({"yes", "no"}), group({"no", "yes"})}, true);
  EXPECT_EQ(scores[0].applies, (std::vector<std::uint8_t>{1, 1}));
  EXPECT_EQ(scores[1].applies, (std::vector<std::uint8_t>{0, 1}));
  EXPECT_EQ(scores[0].totals[1], 1);
  EXPECT_EQ(scores[1].totals[1], 0);
}

TEST(RewardSet, ScheduleBoundsSteps) {
  RewardEntry settings;
  settings.schedule_start = 3;
  settings.schedule_end = 5;
  RewardSet set = reward_set({});
  std::atomic<int> calls = 0;
  add(
      set, "late", [&](const RewardInput&) { return ++calls, 1.0; }, settings);
  for (const int step : {2, 3, 4, 5}) {
    auto one = data("a");
    one->step = step;
    const bool is_on = step == 3 || step == 4;
    EXPECT_EQ(set.weight(0, step), is_on ? 1.0 : 0.0);
    EXPECT_EQ(set.score(std::vector<Group>{{one}}, true)[0].applies[0], is_on ? 1 : 0) << step;
  }
  EXPECT_EQ(calls, 2);
}

TEST(RewardSet, MissingValues) {
  for (const auto missing : {MissingReward::Exclude, MissingReward::Center, MissingReward::Zero}) {
    RewardEntry settings;
    settings.missing = missing;
    RewardSet set = reward_set({});
    add(
        set, "gaps", [](const RewardInput& in) { return in.completion() == "gap" ? kNaN : 0.5; }, settings);
    add(set, "one", [](const RewardInput&) { return 1.0; });
    EXPECT_EQ(set.missing(0), missing);
    const auto scores = set.score(std::vector<Group>{group({"gap", "full"})}, true);
    EXPECT_TRUE(std::isnan(scores[0].verdicts[0][0].score));
    EXPECT_EQ(scores[0].verdicts[0][0].verdict, "missing");
    EXPECT_EQ(scores[0].totals[1], 1.5);
    if (missing == MissingReward::Exclude) {
      EXPECT_TRUE(std::isnan(scores[0].totals[0]));
    } else {
      EXPECT_EQ(scores[0].totals[0], 1);
    }
    EXPECT_EQ(set.failures().at("gaps").missing, 1);
    EXPECT_EQ(set.failures().at("gaps").scored, 1);
  }
}

TEST(RewardSet, WeightZeroOnlyWatches) {
  RewardEntry settings;
  settings.weight = 0;
  RewardSet set = reward_set({});
  add(
      set, "watch", [](const RewardInput&) { return kNaN; }, settings);
  add(set, "one", [](const RewardInput&) { return 1.0; });
  EXPECT_EQ(set.score(std::vector<Group>{group({"a"})}, true)[0].totals[0], 1);
}

TEST(RewardSet, ThrowingIsAnErrorFirstAndCountedLater) {
  RewardSet set = reward_set({}, 0.5);
  add(set, "fussy", [](const RewardInput& in) -> double {
    if (in.completion() == "bad") throw std::runtime_error("cannot read this");
    return 1;
  });
  const std::vector<Group> groups = {group({"a", "b"}), group({"a", "bad"})};
  EXPECT_EQ(error_of([&] { set.score(groups, true); }), "rewards.fussy: sample 1 of group 1: cannot read this");
  const auto scores = set.score(groups, false);
  EXPECT_TRUE(std::isnan(scores[1].verdicts[1][0].score));
  EXPECT_EQ(scores[1].verdicts[1][0].verdict, "error");
  EXPECT_EQ(scores[1].verdicts[1][0].why, "cannot read this");
  EXPECT_TRUE(std::isnan(scores[1].totals[1]));
  EXPECT_EQ(scores[1].totals[0], 1);
  EXPECT_EQ(set.failures().at("fussy").thrown, 2);
  EXPECT_EQ(set.failures().at("fussy").scored, 6);
}

TEST(RewardSet, InfinityCountsAsThrown) {
  for (const double value : {kInf, -kInf}) {
    RewardSet set = reward_set({}, 1.0);
    add(set, "wild", [&](const RewardInput&) { return value; });
    const std::vector<Group> groups = {group({"a"})};
    EXPECT_NE(error_of([&] { set.score(groups, true); }).find(value > 0 ? "returned inf" : "returned -inf"),
              std::string::npos);
    EXPECT_TRUE(std::isnan(set.score(groups, false)[0].totals[0]));
    EXPECT_EQ(set.failures().at("wild").thrown, 2);
  }
}

TEST(RewardSet, AnExceptionOfAnyTypeIsCaught) {
  RewardSet set = reward_set({});
  add(set, "odd", [](const RewardInput&) -> double { throw 5; });
  EXPECT_NE(error_of([&] { set.score(std::vector<Group>{group({"a"})}, true); }).find("no std::exception"),
            std::string::npos);
}

TEST(RewardSet, OutOfRangeIsCounted) {
  RewardSet set = reward_set({});
  add(set, "big", [](const RewardInput& in) { return in.completion() == "a" ? 3.0 : 1.0; });
  EXPECT_EQ(set.score(std::vector<Group>{group({"a", "b"})}, true)[0].totals[0], 3);
  EXPECT_EQ(set.failures().at("big").out_of_range, 1);
  EXPECT_EQ(set.failures().at("big").scored, 2);
}

TEST(RewardSet, StopsAboveTheFailureFraction) {
  auto fails_on_x = [](const RewardInput& in) -> double {
    if (in.completion() == "x") throw Error("no");
    return 1;
  };
  const std::vector<Group> groups = {group({"x", "a", "a", "a"})};
  RewardSet lenient = reward_set({}, 0.25);
  add(lenient, "r", fails_on_x);
  add(lenient, "s", fails_on_x);  // the same answer: one failed answer, not two
  EXPECT_NO_THROW(lenient.score(groups, false));
  RewardSet strict = reward_set({}, 0.24);
  add(strict, "r", fails_on_x);
  EXPECT_EQ(kind_of([&] { strict.score(groups, false); }), ErrorKind::Guard);
  EXPECT_NE(error_of([&] { strict.score(groups, false); }).find("1 of 4 answers"), std::string::npos);
}

TEST(RewardSet, MissingByItsOwnWordIsNoFailure) {
  RewardSet set = reward_set({}, 0.0);
  add(set, "nan", [](const RewardInput&) { return kNaN; });
  EXPECT_NO_THROW(set.score(std::vector<Group>{group({"a", "b"})}, true));
}

TEST(RewardSet, ConfigErrors) {
  auto build = [](std::vector<RewardEntry> entries) { return error_of([&] { reward_set(entries); }); };
  EXPECT_NE(build({entry("accuracy"), entry("accuracy")}).find("rewards.accuracy: two rewards have this name"),
            std::string::npos);
  EXPECT_EQ(build({entry("accuracy"), entry("again", "accuracy")}), "");
  EXPECT_NE(build({entry("acuracy")}).find("got 'acuracy' (did you mean \"accuracy\"?)"), std::string::npos);
  EXPECT_NE(build({entry("x", "nothing")}).find("expected one of accuracy, format, language_consistency"),
            std::string::npos);
  EXPECT_NE(build({entry("")}).find("expected a name"), std::string::npos);
  EXPECT_EQ(reward_set({entry("", "format")}).name(0), "format");
  RewardEntry isolated = entry("accuracy");
  isolated.isolation = Isolation::Process;
  EXPECT_EQ(build({isolated}), "rewards.accuracy.isolation: has no effect unless plugin is set; leave it out");
  RewardEntry bad = entry("accuracy");
  bad.timeout_s = 0;
  EXPECT_NE(build({bad}).find("timeout_s"), std::string::npos);
  bad = entry("accuracy");
  bad.weight = kNaN;
  EXPECT_NE(build({bad}).find("rewards.accuracy.weight"), std::string::npos);
  bad = entry("accuracy");
  bad.schedule_start = 5;
  bad.schedule_end = 5;
  EXPECT_NE(build({bad}).find("schedule"), std::string::npos);
  for (const Json& when : {Json(3), Json(Json::Object{}), Json(Json::Object{{"a", Json(Json::List{})}}),
                           Json(Json::Object{{"a", Json(Json::Object{})}})}) {
    bad = entry("accuracy");
    bad.when = when;
    EXPECT_NE(build({bad}).find("rewards.accuracy.when"), std::string::npos) << when.dump();
  }
  EXPECT_NE(error_of([] { reward_set({}, 1.5); }).find("max_failure_fraction"), std::string::npos);
  EXPECT_NE(error_of([] { reward_set({}, 0.1, 0); }).find("thread"), std::string::npos);
  RewardSet set;
  EXPECT_NE(error_of([&] { set.add(nullptr); }).find("null"), std::string::npos);
  EXPECT_EQ(set.score(std::vector<Group>{group({"a"})}, true)[0].verdicts[0].size(), 0u);
}

TEST(RewardSet, ChecksRowsThatAReward) {
  RewardEntry settings = entry("accuracy");
  settings.when = Json(Json::Object{{"source", "math"}});
  const RewardSet set = reward_set({settings});
  EXPECT_NO_THROW(set.check_row(Json(Json::Object{{"source", "prose"}}), std::nullopt));
  EXPECT_THROW(set.check_row(Json(Json::Object{{"source", "math"}}), std::nullopt), Error);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
