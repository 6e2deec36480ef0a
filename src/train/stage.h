// What one kind of training does inside the trainer's loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <grpo/train.h>

namespace grpo {

// What stages work on; the trainer owns it all.
struct StageContext {
  const RunConfig& config;
  Communicator& communicator;
  CausalLM& policy;
  const Tokenizer& tokenizer;
  RewardSet& rewards;
};

class Stage {
 public:
  virtual ~Stage() = default;
  // Adds the gradient of optimiser step `step` (from 0) to the parameters.
  virtual Metrics accumulate(std::int64_t step) = 0;
  // The optimiser has made step `step`.
  virtual void stepped(std::int64_t /*step*/) {}
  // Nothing in flight: a checkpoint taken now can be resumed.
  virtual bool between_rollouts() const { return true; }
  virtual Json state() const = 0;
  virtual void restore(const Json& state) = 0;
  virtual CausalLM* reference() { return nullptr; }
  std::function<void(const RolloutReport&)> on_rollout;
};

std::unique_ptr<Stage> make_grpo_stage(const StageContext& context);
std::unique_ptr<Stage> make_sft_stage(const StageContext& context);

// ---- prompts, sampled and scored: shared by training and evaluation
// ---------------------------------------------------

struct PromptSet {
  std::vector<Prompt> prompts;
  std::int64_t num_too_long = 0;  // left out: longer than the limit
};
// All rows of a file as prompts of at most `max_new_tokens` less than the context (and data.max_prompt_length). Throws
// Error when none is left.
PromptSet load_prompts(const StageContext& context, const std::string& path, std::int64_t max_new_tokens, int max_rows);

struct SampleAndScore {
  std::vector<const Prompt*> prompts;
  int num_generations = 1;
  SamplerOptions sampling;
  std::uint32_t stage = kStageTrain;
  std::int64_t step = 0;
  bool is_evaluation = false;
  bool is_first = false;  // a throwing reward is then an error
};
// Groups with completions and rewards; advantages are left empty.
std::vector<RolloutGroup> sample_and_score(const StageContext& context, const SampleAndScore& request);

// completions/{mean,min,max}_length ..., rewards/<name>/{mean,std}, with `prefix` before each name.
Metrics rollout_metrics(const std::vector<RolloutGroup>& groups, const RewardSet& rewards, std::int64_t step,
                        const std::string& prefix);

}  // namespace grpo
