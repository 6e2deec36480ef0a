#include <algorithm>

#include "model/kv_cache.h"
#include "train/minibatches.h"
#include "train/plan.h"

namespace grpo::inline GRPO_ABI {

PackedSizes packed_sizes(const std::vector<AnswerSize>& answers, std::int64_t max_tokens) {
  PackedSizes sizes;
  std::int64_t tokens = 0, targets = 0, blocks = 0;
  const AnswerSize* last = nullptr;  // of the micro-batch at hand
  const auto close = [&] {
    if (!last) return;
    ++sizes.batches;
    sizes.tokens += tokens;
    sizes.most_tokens = std::max(sizes.most_tokens, tokens);
    sizes.most_targets = std::max(sizes.most_targets, targets);
    sizes.most_blocks = std::max(sizes.most_blocks, blocks);
    tokens = targets = blocks = 0;
    last = nullptr;
  };
  for (const AnswerSize& one : answers) {
    const bool is_shared = last && last->group == one.group;
    if (last && tokens + one.answer - 1 + (is_shared ? 0 : one.prompt) > max_tokens) close();
    if (!last || last->group != one.group) {
      tokens += one.prompt;
      blocks += KvCache::blocks_needed(0, one.prompt);
      ++sizes.prompts;
    }
    tokens += one.answer - 1;  // an answer's last token needs no row
    targets += one.answer;
    blocks += own_blocks(one.prompt, one.prompt + one.answer - 1);
    last = &one;
  }
  close();
  return sizes;
}

std::vector<PackedSizes> step_sizes(const RunConfig& config, const RowLengths& lengths, MinibatchSplit split) {
  const GrpoSection& grpo = config.grpo;
  const RowOrder order(lengths.size(), config.seed, config.data.shuffle);
  std::vector<AnswerSize> answers;
  const int num_prompts = grpo.prompts_per_step * grpo.steps_per_generation;
  for (int p = 0; p < num_prompts; ++p) {
    const std::int64_t prompt = lengths[order.row_at(static_cast<std::uint64_t>(p))];
    for (int i = 0; i < grpo.num_generations; ++i)
      answers.push_back({static_cast<std::size_t>(p), prompt, grpo.loss.max_completion_length});
  }
  const std::vector<std::size_t> part_of =
      deal_answers(answers.size(), {split, grpo.steps_per_generation, config.seed, 0});
  std::vector<std::vector<AnswerSize>> parts(static_cast<std::size_t>(grpo.steps_per_generation));
  for (std::size_t i = 0; i < answers.size(); ++i) parts[part_of[i]].push_back(answers[i]);
  std::vector<PackedSizes> sizes;
  sizes.reserve(parts.size());
  for (const std::vector<AnswerSize>& part : parts)
    sizes.push_back(packed_sizes(part, micro_batch_tokens(grpo.micro_batch_tokens)));
  return sizes;
}

PackedSizes sft_step_sizes(const RunConfig& config, const RowLengths& lengths) {
  const RowOrder order(lengths.size(), config.seed, config.data.shuffle);
  std::vector<AnswerSize> rows;
  rows.reserve(static_cast<std::size_t>(config.sft.batch_size));
  for (int i = 0; i < config.sft.batch_size; ++i)  // a conversation: all of its tokens are rows, most of them targets
    rows.push_back({static_cast<std::size_t>(i), 0, lengths[order.row_at(static_cast<std::uint64_t>(i))] + 1});
  return packed_sizes(rows, micro_batch_tokens(config.sft.micro_batch_tokens));
}

}  // namespace grpo::inline GRPO_ABI
