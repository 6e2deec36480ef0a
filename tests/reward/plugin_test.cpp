#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "reward/plugins.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::error_of;
using test::group;
using test::Group;
using test::judge;
using test::kind_of;
using test::plugin_entry;
using test::plugin_path;
using test::reward_set;

// Every case in this process and in a worker.
class Plugin : public testing::TestWithParam<Isolation> {
 protected:
  static void SetUpTestSuite() { setenv("GRPO_REWARD_WORKER", GRPO_TEST_WORKER, 1); }
  static RewardEntry from(const std::string& library, const std::string& type, const std::string& params = "") {
    return plugin_entry(library, type, GetParam(), params);
  }
  static std::string error_with(const RewardEntry& entry) {
    return error_of([&] { reward_set({entry}); });
  }
};
INSTANTIATE_TEST_SUITE_P(Isolation, Plugin, testing::Values(Isolation::None, Isolation::Process),
                         [](const auto& tested) { return tested.param == Isolation::None ? "None" : "Process"; });

TEST_P(Plugin, ScoresWithReasons) {
  RewardEntry entry = from("moods", "moody", "{bonus: 0.75}");
  entry.weight = 2;
  RewardSet set = reward_set({entry});
  const auto scores = set.score(std::vector<Group>{group({"a", "nan", "babble"}), group({"high"})}, true);
  EXPECT_EQ(scores[0].totals[0], 1.5);
  EXPECT_EQ(scores[0].verdicts[0][0].verdict, "calm");
  EXPECT_TRUE(std::isnan(scores[0].totals[1]));
  EXPECT_EQ(scores[0].verdicts[1][0].verdict, "missing");
  EXPECT_EQ(scores[0].verdicts[2][0].verdict, std::string(32, 'v'));
  EXPECT_EQ(scores[0].verdicts[2][0].why, "\xEF\xBF\xBD" + std::string(223, 'w')) << "cut, and made well-formed";
  EXPECT_EQ(set.failures().at("moody").scored, 3);
  EXPECT_EQ(set.failures().at("moody").missing, 1);
  EXPECT_EQ(set.failures().at("moody").out_of_range, 1);
}

TEST_P(Plugin, SeesTheWholeAnswer) {
  auto answer = data("<think>t\xC3\xA9</think> so <answer>5</answer>", "five", "Q?");
  answer->messages = {{"user", "Q?"}, {"assistant", ""}};
  answer->token_ids = {1, -2, 300000};
  answer->finish_reason = FinishReason::Length;
  answer->step = 7;
  answer->is_evaluation = true;
  RewardSet set = reward_set({from("moods", "witness")});
  const Verdict verdict = judge(set, answer);
  EXPECT_EQ(verdict.score, 7);
  EXPECT_EQ(verdict.why, "user:Q?|assistant:|Q?|t\xC3\xA9| so <answer>5</answer>|5|five|1,-2,300000,FAREL");
  EXPECT_EQ(judge(set, data("<think>open")).why, "|open||||-----") << "thinking that was not closed";
}

TEST_P(Plugin, SetsOwnThinkMode) {
  const std::vector<RewardEntry> entries = {from("moods", "witness")};
  RewardSet set(entries, {}, 0.1, ThinkMode::Required);
  EXPECT_EQ(judge(set, data("5")).why, "|||||-----");
}

TEST_P(Plugin, ReadsColumnsByType) {
  const std::string columns = R"({"text": "a\u0000b", "list": [1, 2.5], "whole": 3, "yes": true, "value": 2})";
  auto answer = [&](const char* completion) {
    auto made = data(completion, "r");
    made->columns = parse_json(columns);
    return made;
  };
  RewardSet set = reward_set({from("moods", "reader", "{column: value, times: 3, negative: true}")}, 1.0);
  const Verdict verdict = judge(set, answer("x"));
  EXPECT_EQ(verdict.score, -6);
  EXPECT_EQ(verdict.why, "a") << "up to a NUL";
  const auto skipped =
      set.score(std::vector<Group>{{answer("skip"), answer("x")}, {answer("x"), answer("skip")}}, true);
  EXPECT_EQ(skipped[0].applies[0], 0);
  EXPECT_EQ(skipped[1].totals, (std::vector<double>{-6, -6}));
  RewardSet wrong = reward_set({from("moods", "reader", "{column: text}")}, 1.0);
  EXPECT_EQ(error_of([&] { judge(wrong, answer("x")); }),
            "rewards.reader: sample 0 of group 0: column 'text': expected a number, got \"a\\u0000b\"");
  RewardSet none = reward_set({from("moods", "reader", "{column: other}")}, 1.0);
  EXPECT_EQ(error_of([&] { judge(none, answer("x")); }),
            "rewards.reader: sample 0 of group 0: column 'other': there is none");
}

TEST_P(Plugin, ChecksRows) {
  RewardSet set = reward_set({from("moods", "reader", "{column: value}")});
  set.check_row(parse_json(R"({"value": 1})"), "r");
  EXPECT_EQ(error_of([&] { set.check_row(parse_json(R"({"value": -1})"), "r"); }), "rewards.reader: a bad row");
  EXPECT_EQ(error_of([&] { set.check_row(parse_json(R"({"value": 1})"), {}); }), "rewards.reader: a bad row");
  reward_set({from("moods", "moody")}).check_row(Json(), {});
}

TEST_P(Plugin, ThrowingIsTheRewardsFailure) {
  RewardSet set = reward_set({from("moods", "moody")}, 1.0);
  const std::vector<Group> groups = {group({"throw", "a", "throw oddly", "inf"})};
  EXPECT_EQ(error_of([&] { set.score(groups, true); }), "rewards.moody: sample 0 of group 0: in a bad mood");
  const auto scores = set.score(groups, false);
  EXPECT_EQ(scores[0].verdicts[0][0].why, "in a bad mood");
  EXPECT_EQ(scores[0].totals[1], 0.5);
  EXPECT_EQ(scores[0].verdicts[2][0].why, "an exception that is no std::exception");
  EXPECT_EQ(set.failures().at("moody").thrown, 6);
  EXPECT_EQ(set.failures().at("moody").infrastructure, 0);
}

TEST_P(Plugin, ComparesTheAnswersOfAGroup) {
  RewardSet set = reward_set({from("moods", "share")}, 1.0);
  EXPECT_EQ(set.score(std::vector<Group>{group({"a", "bb", "cccc"})}, true)[0].totals,
            (std::vector<double>{0.25, 0.5, 1}));
  const std::vector<Group> too_few = {group({"short", "b"})};
  EXPECT_EQ(error_of([&] { set.score(too_few, true); }),
            "rewards.share: sample 0 of group 0: the plug-in returned 1 verdicts for 2 answers");
  set.score(too_few, false);
  EXPECT_EQ(set.failures().at("share").thrown, 4);
}

TEST_P(Plugin, ParamsAreCheckedLikeFields) {
  auto error = [](const std::string& type, const std::string& params) {
    return error_with(from("moods", type, params));
  };
  EXPECT_EQ(error("moody", "{bonus: 2}"),
            "run.yaml:1:9: rewards.moody.params.bonus: expected a number >= 0 and <= 1, got 2");
  EXPECT_EQ(error("moody", "{bonus: high}"),
            "run.yaml:1:9: rewards.moody.params.bonus: expected a number >= 0 and <= 1, got \"high\"");
  EXPECT_EQ(error("moody", "{bonos: 1}"),
            "run.yaml:1:9: rewards.moody.params.bonos: unknown key (did you mean \"bonus\"?)");
  EXPECT_EQ(error("moody", "{pid_file: 3}"),
            "run.yaml:1:12: rewards.moody.params.pid_file: expected text (in quotes), got 3");
  EXPECT_EQ(error("reader", "{times: 2}"),
            "run.yaml:1:1: rewards.reader.params.column: expected a value (text), got none");
  EXPECT_EQ(error("reader", ""), "rewards.reader.params.column: expected a value (text), got none");
  EXPECT_EQ(error("reader", "{column: a, times: 0}"),
            "run.yaml:1:20: rewards.reader.params.times: expected an integer >= 1, got 0");
  EXPECT_EQ(error("reader", "{column: a, negative: 1}"),
            "run.yaml:1:23: rewards.reader.params.negative: expected true or false, got 1");
  EXPECT_EQ(error("reader", "{column: forbidden}"), "rewards.reader.params: this column is forbidden");
  EXPECT_EQ(kind_of([] { reward_set({from("moods", "moody", "{bonus: 2}")}); }), ErrorKind::User);
}

TEST_P(Plugin, WhatIsNoPluginIsRefused) {
  auto error = [](const std::string& library, const std::string& type) {
    std::string text = error_with(from(library, type));
    const std::string start = "rewards." + type + ".plugin: " + plugin_path(library) + ": ";
    EXPECT_EQ(text.rfind(start, 0), 0u) << text;
    return text.substr(std::min(start.size(), text.size()));
  };
  EXPECT_EQ(error("wrong_abi", "wrong"),
            "it speaks plug-in ABI 7, this grpo 1; build it again with this grpo's headers");
  EXPECT_EQ(error("wrong_size", "wrong").rfind("the struct_size of its table is ", 0), 0u);
  EXPECT_EQ(error("wrong_param", "wrong"), "wrong: parameter 'limit' has a default outside of its range");
  EXPECT_EQ(error("wrong_function", "wrong"), "its table lacks create, destroy, range or score");
  EXPECT_EQ(error("wrong_symbol", "wrong"), "it has no symbol grpo_reward_plugin, so it is no reward plug-in");
  EXPECT_EQ(error("moods", "mody"),
            "it has no reward of type 'mody' (did you mean \"moody\"?); it has: moody, witness, reader, share");
  EXPECT_EQ(error("absent", "wrong"), "cannot load it: cannot open shared object file: No such file or directory");
  const std::string text_file = plugin_path("text");
  std::ofstream(text_file) << "This is a text of more than a few bytes, and no library.";
  EXPECT_EQ(error("text", "wrong").rfind("cannot load it: ", 0), 0u);
  std::filesystem::remove(text_file);
  EXPECT_EQ(kind_of([] { reward_set({from("wrong_abi", "wrong")}); }), ErrorKind::User);
}

TEST_P(Plugin, TwinsDoNotShareAnything) {
  RewardEntry a = from("twin_a", "twin"), b = from("twin_b", "twin");
  a.name = "a", b.name = "b";
  RewardSet set = reward_set({a, b});
  const auto verdicts = set.score(std::vector<Group>{group({"x"})}, true)[0].verdicts[0];
  EXPECT_EQ(verdicts[0].score, 0.25);
  EXPECT_EQ(verdicts[1].score, 0.75);
}

TEST_P(Plugin, PlainC) {
  RewardSet set = reward_set({from("plain_c", "even")});
  auto answer = data("x");
  answer->token_ids = {1, 2};
  EXPECT_EQ(judge(set, answer).score, 1);
  EXPECT_EQ(judge(set, data("x")).verdict, "counted");
}

TEST_P(Plugin, ScoresOnSeveralThreads) {
  std::vector<Group> groups;
  for (int g = 0; g < 20; ++g) groups.push_back(group({"a", "bb", "cccc", "dddd"}));
  RewardSet set = reward_set({from("moods", "share"), from("moods", "moody")}, 0.1, 4);
  for (const GroupScores& scores : set.score(groups, true)) {
    EXPECT_EQ(scores.totals, (std::vector<double>{0.75, 1, 1.5, 1.5}));
  }
}

TEST(PluginExample, LoadsFromYaml) {
#ifdef GRPO_EXAMPLE_PLUGIN
  const std::filesystem::path library = GRPO_EXAMPLE_PLUGIN;
  const std::filesystem::path config = library.parent_path() / "plugin_example.yaml";  // the path is relative to it
  std::ofstream(config) << "rewards:\n"
                           "  - {name: short, type: brevity, plugin: "
                        << library.filename().string() << ", weight: 0.5,\n     params: {limit: 4}}\n";
  RewardSet set = reward_set(load_config(config.string(), {}, Command::Score).rewards);
  EXPECT_EQ(set.score(std::vector<Group>{group({"<answer>12345</answer>"})}, true)[0].totals[0], 0.375);
  std::ofstream(config) << "rewards:\n"
                           "  - name: short\n    type: brevity\n    plugin: "
                        << library.filename().string() << "\n    params: {limit: 0}\n";
  EXPECT_EQ(error_of([&] { reward_set(load_config(config.string(), {}, Command::Score).rewards); }),
            config.string() + ":5:21: rewards.short.params.limit: expected a number >= 1, got 0");
  std::ofstream(config) << "rewards:\n  - {name: accuracy, isolation: process}\n";
  EXPECT_NE(error_of([&] {
              load_config(config.string(), {}, Command::Score);
            }).find(":2:33: rewards.0.isolation: has no effect unless plugin is set"),
            std::string::npos);
  std::filesystem::remove(config);
#else
  GTEST_SKIP() << "examples are not built";
#endif
}

TEST(PluginDeadline, HungCallsAreLeftBehindButNotTooMany) {
  RewardEntry entry = plugin_entry("moods", "moody");
  entry.timeout_s = 0.5;
  RewardSet set = reward_set({entry}, 1.0);
  const auto scores = set.score(std::vector<Group>{group({"a", "sleep", "b"})}, true);
  EXPECT_EQ(scores[0].totals[0], 0.5);
  EXPECT_EQ(scores[0].verdicts[1][0].verdict, "timeout");
  EXPECT_EQ(scores[0].totals[2], 0.5);
  EXPECT_EQ(set.failures().at("moody").timed_out, 1);
}

// Hangs whatever it is told, until the test lets it go.
class Stuck final : public Reward {
 public:
  explicit Stuck(std::shared_ptr<std::atomic<bool>> free) : free_(std::move(free)) {}
  std::string_view name() const override { return "stuck"; }
  double score(const RewardInput&) const override {
    while (!*free_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return 1;
  }

 private:
  std::shared_ptr<std::atomic<bool>> free_;
};

TEST(PluginDeadline, TooManyHungCallsStopTheRun) {
  auto free = std::make_shared<std::atomic<bool>>(false);
  RewardSet set = reward_set({}, 1.0);
  RewardEntry entry;
  entry.timeout_s = 0.02;
  set.add(std::make_unique<Stuck>(free), entry);
  set.score(std::vector<Group>{Group(16, data("a"))}, true);  // as many as may hang
  const std::vector<Group> one_more = {group({"a", "b", "c"})};
  const std::string error = error_of([&] { set.score(one_more, true); });
  EXPECT_EQ(
      error.rfind("rewards: 17 calls hang on their threads, more than 16, the last of rewards.stuck on group 0", 0), 0u)
      << error;
  EXPECT_EQ(kind_of([&] { set.score(one_more, true); }), ErrorKind::Guard);
  *free = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the threads end, and count no more
  EXPECT_EQ(set.score(one_more, true)[0].totals[0], 1);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
