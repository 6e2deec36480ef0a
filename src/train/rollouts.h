// Prompts, sampled and scored: what training and evaluation share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <grpo/train.h>

#include "metrics/phases.h"

namespace grpo::inline GRPO_ABI {

// Who answers, and who judges.
struct Player {
  const CausalLM& model;
  const Tokenizer& tokenizer;
  RewardSet& rewards;
  Communicator* communicator = nullptr;  // null: one rank; ranks share the prompts and get each other's answers
  Phases* phases = nullptr;              // told of sampling, scoring and exchange
};

// The longest prompt in tokens: data.max_prompt_length, and at most the context less `max_new_tokens`. Throws Error
// when that leaves no room.
std::int64_t prompt_limit(const ModelConfig& model, const DataSection& data, std::int64_t max_new_tokens);

struct PromptSet {
  std::vector<Prompt> prompts;
  std::int64_t num_too_long = 0;  // left out: longer than the limit
};
// All rows of a file as prompts within prompt_limit. Throws Error when none is left.
PromptSet load_prompts(const Player& player, const DataSection& data, const Dataset& dataset,
                       std::int64_t max_new_tokens, int max_prompts = 0);

struct SampleAndScore {
  std::vector<const Prompt*> prompts;
  int num_generations = 1;
  SamplerOptions sampling;
  std::int64_t seed = 42;
  std::uint32_t stage = kStageTrain;
  std::int64_t step = 0;
  bool is_evaluation = false;
  bool is_first = false;  // a throwing reward is then an error
};
// What rewards see of one completion of a group.
std::shared_ptr<const RewardInput::Data> reward_input(const RolloutGroup& group, const Completion& completion,
                                                      const RewardSet& rewards, const SampleAndScore& request);
// Groups with completions and rewards, all of them on every rank; advantages are left empty.
std::vector<RolloutGroup> sample_and_score(const Player& player, const SampleAndScore& request);

// Puts whole prompts into groups that were kept with row and ids. Throws Error when they are of other prompts.
void restore_prompts(const SampleAndScore& request, std::vector<RolloutGroup>& groups);

// completions/{mean,min,max}_length ..., measures of the text, rewards/<name>/{mean,std}, with `prefix` before each
// name.
Metrics rollout_metrics(const std::vector<RolloutGroup>& groups, const RewardSet& rewards, std::int64_t step,
                        const std::string& prefix);

}  // namespace grpo::inline GRPO_ABI
