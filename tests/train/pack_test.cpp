#include <grpo/train.h>
#include <gtest/gtest.h>

#include "support/tensors.h"

namespace grpo::testing {
namespace {

using Ids = std::vector<std::int32_t>;

RolloutGroup group(std::string id, Ids prompt, std::vector<Ids> answers) {
  RolloutGroup result;
  result.prompt.id = std::move(id);
  result.prompt.ids = std::move(prompt);
  float logprob = -1;
  for (Ids& ids : answers) {
    Completion& completion = result.completions.emplace_back();
    for (std::size_t t = 0; t < ids.size(); ++t) completion.logprobs.push_back(logprob -= 1);
    completion.ids = std::move(ids);
    completion.finish_reason = FinishReason::Stop;
    result.advantages.push_back(static_cast<double>(result.advantages.size()) + 0.5);
  }
  return result;
}

// (begin, end, prefix) of each sequence.
std::vector<std::array<std::int64_t, 3>> layout(const PackedBatch& batch) {
  std::vector<std::array<std::int64_t, 3>> result;
  for (const BatchSequence& s : batch.tokens.sequences) {
    EXPECT_EQ(s.cache, -1);
    result.push_back({s.begin, s.end, s.prefix});
  }
  return result;
}

std::vector<RolloutGroup> two_groups() {
  std::vector<RolloutGroup> groups = {group("a", {10, 11, 12}, {{20, 21, 22}, {23}}), group("b", {13}, {{24, 25}})};
  groups[0].completions[0].finish_reason = FinishReason::Length;
  return groups;
}

TEST(Pack, APromptStandsOnceBeforeItsAnswers) {
  const std::vector<PackedBatch> batches = pack(two_groups());
  ASSERT_EQ(batches.size(), 1u);
  const PackedBatch& batch = batches[0];
  EXPECT_EQ(batch.tokens.tokens, (Ids{10, 11, 12, 20, 21, 13, 24}));  // last tokens of answers predict nothing
  EXPECT_EQ(layout(batch), (std::vector<std::array<std::int64_t, 3>>{{0, 3, -1}, {3, 5, 0}, {5, 6, -1}, {6, 7, 2}}));
  EXPECT_EQ(batch.targets, (Ids{20, 21, 22, 23, 24, 25}));
  EXPECT_EQ(batch.rows, (Ids{2, 3, 4, 2, 5, 6}));
  EXPECT_EQ(batch.offsets, (std::vector<std::int64_t>{0, 3, 4, 6}));
  EXPECT_EQ(batch.mask, (std::vector<std::uint8_t>(6, 1)));
  EXPECT_EQ(batch.sampler_logps, (std::vector<double>{-2, -3, -4, -5, -2, -3}));
  EXPECT_EQ(batch.advantages, (std::vector<double>{0.5, 0.5, 0.5, 1.5, 0.5, 0.5}));
  EXPECT_TRUE(batch.old_logps.empty());
  const Denominators denominators = count_denominators(batches);
  EXPECT_EQ(denominators.sequences, 3);
  EXPECT_EQ(denominators.tokens, 6);
}

TEST(Pack, WithoutSharingEveryAnswerBringsItsPrompt) {
  const PackedBatch batch = pack(two_groups(), {.share_prefix = false})[0];
  EXPECT_EQ(batch.tokens.tokens, (Ids{10, 11, 12, 20, 21, 10, 11, 12, 13, 24}));
  EXPECT_EQ(layout(batch), (std::vector<std::array<std::int64_t, 3>>{{0, 5, -1}, {5, 8, -1}, {8, 10, -1}}));
  EXPECT_EQ(batch.rows, (Ids{2, 3, 4, 7, 8, 9}));
  EXPECT_EQ(batch.targets, (Ids{20, 21, 22, 23, 24, 25}));
}

TEST(Pack, ABatchHoldsAtMostItsTokens) {
  const std::vector<RolloutGroup> groups = two_groups();
  const auto sizes = [&](std::int64_t max_tokens) {
    std::vector<std::size_t> result;
    for (const PackedBatch& batch : pack(groups, {.max_tokens = max_tokens}))
      result.push_back(batch.tokens.tokens.size());
    return result;
  };
  EXPECT_EQ(sizes(7), (std::vector<std::size_t>{7}));
  EXPECT_EQ(sizes(6), (std::vector<std::size_t>{5, 2}));
  EXPECT_EQ(sizes(5), (std::vector<std::size_t>{5, 2}));
  EXPECT_EQ(sizes(4), (std::vector<std::size_t>{5, 3, 2})) << "the second answer brings its prompt along";
  EXPECT_EQ(sizes(1), (std::vector<std::size_t>{5, 3, 2}));  // one answer may exceed it
  const std::vector<PackedBatch> cut = pack(groups, {.max_tokens = 1});
  EXPECT_EQ(cut[1].tokens.tokens, (Ids{10, 11, 12}));
  EXPECT_EQ(cut[1].rows, (Ids{2}));
  EXPECT_EQ(count_denominators(cut).sequences, 3);
  EXPECT_EQ(count_denominators(cut).tokens, 6);
}

TEST(Pack, AnswersFromOneGroupThatStandApartEachBringThePrompt) {
  const std::vector<RolloutGroup> groups = two_groups();
  const PackedBatch batch = pack(std::vector<AnswerRef>{{&groups[0], 1}, {&groups[1], 0}, {&groups[0], 0}})[0];
  EXPECT_EQ(batch.tokens.tokens, (Ids{10, 11, 12, 13, 24, 10, 11, 12, 20, 21}));
  EXPECT_EQ(batch.targets, (Ids{23, 24, 25, 20, 21, 22}));
  EXPECT_EQ(batch.rows, (Ids{2, 3, 4, 7, 8, 9}));
}

TEST(Pack, MaskedAnswersLeaveLossAndDenominators) {
  std::vector<RolloutGroup> groups = two_groups();
  groups[1].included = {0};
  std::vector<PackedBatch> batches = pack(groups);
  EXPECT_EQ(batches[0].mask, (std::vector<std::uint8_t>{1, 1, 1, 1, 0, 0}));
  batches = pack(groups, {.mask_truncated = true});
  EXPECT_EQ(batches[0].mask, (std::vector<std::uint8_t>{0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(count_denominators(batches).sequences, 1);
  EXPECT_EQ(count_denominators(batches).tokens, 1);
}

TEST(Pack, RefusesWhatIsNoAnswer) {
  const auto error = [](const std::function<void(std::vector<RolloutGroup>&)>& spoil) {
    std::vector<RolloutGroup> groups = two_groups();
    spoil(groups);
    return error_of([&] { pack(groups); });
  };
  EXPECT_EQ(error([](auto& g) { g[0].completions[1].ids.clear(); }), "pack: answer 1 of prompt a has no tokens");
  EXPECT_EQ(error([](auto& g) { g[1].prompt.ids.clear(); }), "pack: prompt b has no tokens");
  EXPECT_EQ(error([](auto& g) { g[1].completions[0].logprobs.pop_back(); }),
            "pack: answer 0 of prompt b has 2 tokens and 1 log-probs");
  EXPECT_EQ(error([](auto& g) { g[0].advantages.pop_back(); }), "pack: prompt a has 2 answers and 1 advantages");
  EXPECT_EQ(error([](auto& g) { g[0].included = {1}; }), "pack: prompt a has 2 answers and 1 marks in `included`");
  const std::vector<RolloutGroup> groups = two_groups();
  EXPECT_EQ(error_of([&] {
              pack(std::vector<AnswerRef>{{&groups[0], 2}});
            }),
            "pack: prompt a has 2 answers, got index 2");
  EXPECT_EQ(error_of([&] { pack(std::vector<AnswerRef>{{}}); }), "pack: an answer has no group");
  EXPECT_TRUE(pack(std::vector<RolloutGroup>{}).empty());
}

}  // namespace
}  // namespace grpo::testing
