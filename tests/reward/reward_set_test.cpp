#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "reward/inputs.h"

namespace grpo {
namespace {

using test::data;
using test::Data;
using test::entry;
using test::error_of;
using test::reward_set;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

using Group = std::vector<std::shared_ptr<const Data>>;

Group group(std::initializer_list<const char*> completions) {
  Group made;
  for (const char* completion : completions) made.push_back(data(completion));
  return made;
}

using ScoreFunction = std::function<double(const RewardInput&)>;

class FunctionReward final : public Reward {
 public:
  FunctionReward(std::string name, ScoreFunction function) : name_(std::move(name)), function_(std::move(function)) {}
  std::string_view name() const override { return name_; }
  double score(const RewardInput& input) const override { return function_(input); }

 private:
  std::string name_;
  ScoreFunction function_;
};

void add(RewardSet& set, const std::string& name, ScoreFunction function, RewardEntry settings = {}) {
  settings.name = name;
  set.add(std::make_unique<FunctionReward>(name, std::move(function)), std::move(settings));
}

double length(const RewardInput& input) { return static_cast<double>(input.completion().size()) / 10; }

ErrorKind kind_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "expected an Error";
  return ErrorKind::Internal;
}

// Sleeps until the set gives up on the call, and a little longer: it must still find its input whole.
double sleep_until_cancelled(const RewardInput& input) {
  while (!input.cancel().cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  return static_cast<double>(input.completion().size());
}

// For threads that were abandoned; one that was so before it called the reward never sets its flag.
void wait_a_while_for(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

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

TEST(RewardSet, DeadlineLeavesOneAnswerOut) {
  for (const int threads : {1, 3}) {
    RewardSet set = reward_set({}, 0.5, threads);
    RewardEntry settings;
    settings.timeout_s = 0.3;
    auto judged = std::make_shared<std::atomic<int>>(0);
    auto ended = std::make_shared<std::atomic<bool>>(false);
    add(
        set, "slow",
        [judged, ended](const RewardInput& in) {
          if (in.completion() != "hang") return ++*judged, length(in);
          const double value = sleep_until_cancelled(in);
          *ended = true;
          return value;
        },
        settings);
    const auto scores = set.score(std::vector<Group>{group({"a", "hang", "ccc"}), group({"dd"})}, true);
    EXPECT_EQ(scores[0].verdicts[0][0].score, 0.1);
    EXPECT_TRUE(std::isnan(scores[0].verdicts[1][0].score));
    EXPECT_EQ(scores[0].verdicts[1][0].verdict, "timeout");
    EXPECT_EQ(scores[0].verdicts[2][0].score, 0.3);
    EXPECT_EQ(scores[1].verdicts[0][0].score, 0.2);
    EXPECT_EQ(set.failures().at("slow").timed_out, 1);
    EXPECT_EQ(set.failures().at("slow").scored, 3);
    EXPECT_EQ(*judged, 3) << "scores that were known are kept";
    EXPECT_GE(set.timings().at("slow").slowest_s, 0.3);
    EXPECT_EQ(set.timings().at("slow").slowest_sample, 1);
    wait_a_while_for([&] { return ended->load(); });
  }
}

TEST(RewardSet, DeadlineIsForEachAnswer) {
  RewardSet set = reward_set({});
  RewardEntry settings;
  settings.timeout_s = 1;
  add(
      set, "steady",
      [](const RewardInput&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(150));
        return 1.0;
      },
      settings);
  const Group ten(10, data("a"));
  set.score(std::vector<Group>{ten}, true);  // 1.5 s in all
  EXPECT_EQ(set.failures().at("steady").scored, 10);
}

TEST(RewardSet, OutlivesItsHungRewards) {
  auto ended = std::make_shared<std::atomic<bool>>(false);
  {
    RewardSet set = reward_set({}, 1.0);
    RewardEntry settings;
    settings.timeout_s = 0.2;
    add(
        set, "hang",
        [ended](const RewardInput& in) {
          sleep_until_cancelled(in);
          *ended = true;
          return 1.0;
        },
        settings);
    RewardSet moved = std::move(set);
    EXPECT_TRUE(std::isnan(moved.score(std::vector<Group>{group({"abc"})}, true)[0].totals[0]));
  }
  wait_a_while_for([&] { return ended->load(); });
}

TEST(RewardSet, StopsEarlyWhenEverythingHangs) {
  auto running = std::make_shared<std::atomic<int>>(0);
  auto started = std::make_shared<std::atomic<int>>(0);
  RewardSet set = reward_set({}, 0.1);
  RewardEntry settings;
  settings.timeout_s = 0.2;
  add(
      set, "hang",
      [=](const RewardInput& in) {
        ++*running, ++*started;
        sleep_until_cancelled(in);
        --*running;
        return 1.0;
      },
      settings);
  const std::vector<Group> groups(20, group({"a"}));
  EXPECT_EQ(kind_of([&] { set.score(groups, true); }), ErrorKind::Guard);
  wait_a_while_for([&] { return *started == 3 && *running == 0; });
  EXPECT_LE(*started, 3) << "2 of 20 are allowed";
}

class Relative final : public Reward {  // compares the answers of a group, on top of the default
 public:
  std::string_view name() const override { return "relative"; }
  double score(const RewardInput& input) const override { return length(input); }
  std::vector<Verdict> score_group(std::span<const RewardInput> group) const override {
    std::vector<Verdict> verdicts = Reward::score_group(group);
    double longest = 0;
    for (const Verdict& verdict : verdicts) longest = std::max(longest, verdict.score);
    for (Verdict& verdict : verdicts) verdict.score /= longest;
    return verdicts;
  }
};

TEST(RewardSet, GroupsAreScoredTogether) {
  RewardSet set = reward_set({});
  set.add(std::make_unique<Relative>());
  const auto scores = set.score(std::vector<Group>{group({"a", "bb", "cccc"}), group({"a"})}, true);
  EXPECT_EQ(scores[0].totals, (std::vector<double>{0.25, 0.5, 1}));
  EXPECT_EQ(scores[1].totals, std::vector<double>{1});
}

TEST(RewardSet, HungGroupScoreTimesOutAsAWhole) {
  class Hang final : public Reward {
   public:
    std::string_view name() const override { return "hang"; }
    double score(const RewardInput&) const override { return 1; }
    std::vector<Verdict> score_group(std::span<const RewardInput> group) const override {
      if (group.size() == 2) sleep_until_cancelled(group[0]);
      return std::vector<Verdict>(group.size(), {1, "", ""});
    }
  };
  RewardSet set = reward_set({}, 1.0);
  RewardEntry settings;
  settings.timeout_s = 0.3;
  set.add(std::make_unique<Hang>(), settings);
  const auto scores = set.score(std::vector<Group>{group({"a", "b"}), group({"c"})}, true);
  EXPECT_TRUE(std::isnan(scores[0].totals[0]) && std::isnan(scores[0].totals[1]));
  EXPECT_EQ(scores[1].totals[0], 1);
  EXPECT_EQ(set.failures().at("hang").timed_out, 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // lets the abandoned thread end before the test does
}

TEST(RewardSet, WrongNumberOfVerdicts) {
  class Short final : public Reward {
   public:
    std::string_view name() const override { return "short"; }
    double score(const RewardInput&) const override { return 1; }
    std::vector<Verdict> score_group(std::span<const RewardInput>) const override { return {{1, "", ""}}; }
  };
  RewardSet set = reward_set({}, 1.0);
  set.add(std::make_unique<Short>());
  const std::vector<Group> groups = {group({"a", "b"})};
  EXPECT_EQ(error_of([&] { set.score(groups, true); }),
            "rewards.short: sample 0 of group 0: score_group returned 1 verdicts for 2 answers");
  set.score(groups, false);
  EXPECT_EQ(set.failures().at("short").thrown, 4);
}

TEST(RewardSet, ResultsDoNotDependOnThreads) {
  std::vector<Group> groups;
  for (int g = 0; g < 40; ++g) {
    Group made;
    for (int i = 0; i < 8; ++i) {
      auto one = data("<think>w</think><answer>" + std::to_string(g * i % 7) + "</answer>", "3");
      made.push_back(one);
    }
    groups.push_back(std::move(made));
  }
  std::vector<double> totals[2];
  for (const int threads : {1, 4}) {
    RewardSet set = reward_set(
        {entry("accuracy"), entry("format"), entry("language_consistency", "", Json(Json::Object{{"target", "en"}}))},
        0.1, threads);
    for (int round = 0; round < 3; ++round) {
      for (const GroupScores& scores : set.score(groups, true)) {
        totals[threads > 1].insert(totals[threads > 1].end(), scores.totals.begin(), scores.totals.end());
      }
    }
  }
  EXPECT_EQ(totals[0], totals[1]);
  EXPECT_EQ(totals[0].size(), 960u);
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
  RewardEntry plugin = entry("mine");
  plugin.plugin = "libmine.so";
  EXPECT_EQ(build({plugin}), "rewards.mine.plugin: plugin rewards are not available in this version");
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
}  // namespace grpo
