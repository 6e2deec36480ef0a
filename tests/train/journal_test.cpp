// Rollouts on disk: the same values back, nothing from a damaged file, and no rollout for another address.
#include "train/journal.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "support/tensors.h"
#include "support/tiny_run.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

struct JournalTest : OpsTest {
  ScratchFolder folder;
  Communicator single = Communicator::single();
  CausalLM model = CausalLM::init(tiny_model_config(), 1, {});
  RewardSet rewards;
  JournalTest() { rewards.add(std::make_unique<MixedIds>()); }

  Journal journal(const std::string& run = "run") { return {folder / "rollouts", run, single}; }
};

// Two groups of unequal sizes, with all that a score can be.
Rollout some_rollout(Json address) {
  Rollout rollout;
  rollout.address = std::move(address);
  rollout.groups.resize(2);
  RolloutGroup& first = rollout.groups[0];
  first.prompt.row = 17;
  first.prompt.ids = {3, 4, 5};
  first.completions = {{{7, 8}, {-0.5F, -1e-30F}, FinishReason::Stop, "a\n\xF0"},
                       {{}, {}, FinishReason::Cancelled, ""}};
  first.rewards = {{0.1}, {std::numeric_limits<double>::quiet_NaN()}};
  first.verdicts = {{{"correct", "it says 3"}}, {{"", ""}}};
  first.absent = {0};
  RolloutGroup& second = rollout.groups[1];
  second.prompt.row = 2;
  second.prompt.ids = {9};
  second.completions = {{{1, 2, 3}, {-1, -2, -3}, FinishReason::Length, "xyz"}};
  second.rewards = {{-std::numeric_limits<double>::infinity()}};
  second.verdicts = {{{"absent", ""}}};
  second.absent = {1};
  rollout.failures = {{.scored = 1, .missing = 2, .thrown = 3, .timed_out = 4, .infrastructure = 5, .out_of_range = 6}};
  return rollout;
}

TEST_F(JournalTest, ARolloutComesBackAsItWas) {
  const Rollout want = some_rollout(journal().address(4, model, rewards));
  save_rollout(folder / "rollout", want);
  const Rollout got = load_rollout(folder / "rollout");
  EXPECT_EQ(got.address, want.address);
  EXPECT_EQ(got.step(), 4);
  ASSERT_EQ(got.groups.size(), 2u);
  for (std::size_t g = 0; g < 2; ++g) {
    const RolloutGroup &a = got.groups[g], &b = want.groups[g];
    EXPECT_EQ(a.prompt.row, b.prompt.row);
    EXPECT_EQ(a.prompt.ids, b.prompt.ids);
    EXPECT_EQ(a.weights_version, 4);
    EXPECT_EQ(a.absent, b.absent);
    ASSERT_EQ(a.completions.size(), b.completions.size());
    for (std::size_t c = 0; c < a.completions.size(); ++c) {
      EXPECT_EQ(a.completions[c].ids, b.completions[c].ids);
      EXPECT_EQ(a.completions[c].logprobs, b.completions[c].logprobs);
      EXPECT_EQ(a.completions[c].finish_reason, b.completions[c].finish_reason);
      EXPECT_EQ(a.completions[c].text, b.completions[c].text);
      EXPECT_TRUE(a.rewards[c] == b.rewards[c] || (std::isnan(a.rewards[c][0]) && std::isnan(b.rewards[c][0])));
      EXPECT_EQ(a.verdicts[c][0].verdict, b.verdicts[c][0].verdict);
      EXPECT_EQ(a.verdicts[c][0].why, b.verdicts[c][0].why);
    }
  }
  ASSERT_EQ(got.failures.size(), 1u);
  EXPECT_EQ(got.failures[0].scored, 1);
  EXPECT_EQ(got.failures[0].timed_out, 4);
  EXPECT_EQ(got.failures[0].out_of_range, 6);
}

TEST_F(JournalTest, NothingComesFromADamagedFile) {
  const Journal kept = journal();
  const Json address = kept.address(4, model, rewards);
  kept.write(some_rollout(address));
  const std::string path = folder / "rollouts/step-5", bytes = read_file(path);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    write_bytes(path, changed);
    const std::string error = error_of([&] { kept.find(address); });
    ASSERT_NE(error.find(path + ": damaged"), std::string::npos) << i << error;
    ASSERT_NE(error.find("without this file the rollout is sampled and scored again"), std::string::npos) << error;
  }
  for (std::size_t length = 0; length < bytes.size(); length += 7) {
    write_bytes(path, bytes.substr(0, length));
    EXPECT_NE(error_of([&] { kept.find(address); }).find("damaged"), std::string::npos) << length;
  }
  write_bytes(path, bytes);
  EXPECT_TRUE(kept.find(address));
}

TEST_F(JournalTest, AnotherAddressHasNoRollout) {
  const Json address = journal().address(4, model, rewards);
  EXPECT_FALSE(journal().find(address));
  journal().write(some_rollout(address));
  EXPECT_TRUE(journal().find(address));
  EXPECT_FALSE(journal().find(journal().address(5, model, rewards)));
  EXPECT_FALSE(journal("other config").find(journal("other config").address(4, model, rewards)));
  RewardSet none;
  EXPECT_FALSE(journal().find(journal().address(4, model, none)));
  // One bit of one weight.
  at::Tensor values = get_values(model.head());
  values.data_ptr<float>()[5] = std::nextafter(values.data_ptr<float>()[5], 1.0F);
  set_values(model.head(), values);
  EXPECT_FALSE(journal().find(journal().address(4, model, rewards)));
}

TEST_F(JournalTest, ForgetsWhatACheckpointCovers) {
  for (const std::int64_t step : {0, 2, 9, 10}) journal().write(some_rollout(journal().address(step, model, rewards)));
  write_bytes(folder / "rollouts/step-x", "someone's");
  journal().forget(10);  // steps 1, 3 and 10 are covered, 11 is not
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder / "rollouts")) left.push_back(entry.path().filename());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"step-11", "step-x"}));
}

TEST_F(JournalTest, CountsWhatFailedSince) {
  const auto before = rewards.failures();
  EXPECT_EQ(failures_since(before, rewards, single).at(0).scored, 0);
  auto data = std::make_shared<RewardInput::Data>();
  data->token_ids = {1, 2};
  rewards.score(std::vector<std::vector<std::shared_ptr<const RewardInput::Data>>>{{data, data}}, true);
  const std::vector<RewardFailureCounts> counts = failures_since(before, rewards, single);
  ASSERT_EQ(counts.size(), 1u);
  EXPECT_EQ(counts[0].scored, 2);
  EXPECT_EQ(failures_since(rewards.failures(), rewards, single).at(0).scored, 0);
}

}  // namespace
}  // namespace grpo::testing
