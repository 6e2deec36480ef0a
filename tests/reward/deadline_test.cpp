#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::add;
using test::data;
using test::entry;
using test::error_of;
using test::group;
using test::Group;
using test::kind_of;
using test::length;
using test::reward_set;

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
  settings.timeout_s = 2;
  add(
      set, "steady",
      [](const RewardInput&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        return 1.0;
      },
      settings);
  const Group answers(8, data("a"));
  set.score(std::vector<Group>{answers}, true);  // 2.4 s in all
  EXPECT_EQ(set.failures().at("steady").scored, 8);
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

}  // namespace
}  // namespace grpo::inline GRPO_ABI
