// What one kind of training does inside the trainer's loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <grpo/train.h>

#include "metrics/phases.h"
#include "train/journal.h"
#include "train/rollouts.h"

namespace grpo::inline GRPO_ABI {

// What stages work on; the trainer owns it all.
struct StageContext {
  const RunConfig& config;
  Communicator& communicator;
  CausalLM& policy;
  const Tokenizer& tokenizer;
  RewardSet& rewards;
  Optimizer& optimizer;
  Phases& phases;
  Player player() const { return {policy, tokenizer, rewards, &communicator, &phases}; }
};

class Stage {
 public:
  virtual ~Stage() = default;
  // Adds the gradient of optimiser step `step` (from 0) to the parameters.
  virtual Metrics accumulate(std::int64_t step) = 0;
  // The optimiser has made step `step`.
  virtual void stepped(std::int64_t /*step*/) {}
  virtual Json state() const = 0;
  // Steps still to come use it: a checkpoint taken now must hold it.
  virtual const Rollout* rollout_in_flight() const { return nullptr; }
  // `rollout`: the checkpoint's, where it holds one.
  virtual void restore(const Json& state, std::optional<Rollout> rollout) = 0;
  virtual CausalLM* reference() { return nullptr; }
  std::function<void(const RolloutReport&)> on_rollout;
  const Journal* journal = nullptr;  // null: rollouts are not kept
};

// With the model and the optimiser's state there: settles train.recompute for rows of these lengths, on all ranks
// alike, and checks that a step fits into what is free.
void fit_memory(const StageContext& context, const std::vector<std::int64_t>& lengths);

std::unique_ptr<Stage> make_grpo_stage(const StageContext& context);
std::unique_ptr<Stage> make_sft_stage(const StageContext& context);

}  // namespace grpo::inline GRPO_ABI
