// Training: packing, the optimiser, checkpoints, metrics, and the trainer that joins model, rollout, reward and
// algorithm.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpo/algo.h>
#include <grpo/config.h>
#include <grpo/dist.h>
#include <grpo/metrics.h>
#include <grpo/model.h>
#include <grpo/reward.h>
#include <grpo/rollout.h>

namespace grpo::inline GRPO_ABI {

// ---- packing --------------------------------------------------------------------------------------------------------

// A micro-batch: flat tokens, each prompt once, its answers linked to it. Target n is predicted by hidden row rows[n];
// an answer's first token by its prompt's last row, and an answer's last token needs no row of its own.
struct PackedBatch {
  TokenBatch tokens;
  std::vector<std::int32_t> rows, targets;   // [N]
  std::vector<std::int64_t> offsets;         // [answers + 1] into the targets
  std::vector<std::uint8_t> mask;            // [N]
  std::vector<double> sampler_logps;         // [N] as sampled
  std::vector<double> old_logps, ref_logps;  // [N]; empty: not there
  std::vector<double> advantages;            // [N]
};

inline constexpr std::int64_t kMicroBatchTokens = 8192;  // what micro_batch_tokens: 0 means

struct PackOptions {
  std::int64_t max_tokens = kMicroBatchTokens;  // per micro-batch; one answer with its prompt may exceed it
  bool share_prefix = true;                     // false: every answer carries a copy of its prompt
  bool mask_truncated = false;                  // answers that ended by length leave the loss
};

// One answer of a group.
struct AnswerRef {
  const RolloutGroup* group = nullptr;
  std::size_t completion = 0;
};
// Answers in order; neighbours of the same group share its prompt.
GRPO_API std::vector<PackedBatch> pack(const std::vector<AnswerRef>& answers, const PackOptions& options = {});
GRPO_API std::vector<PackedBatch> pack(const std::vector<RolloutGroup>& groups, const PackOptions& options = {});
GRPO_API Denominators count_denominators(const std::vector<PackedBatch>& batches);

// Log-probs of a packed batch's targets: forward and fused head in one call. Grad mode decides whether a graph is
// built.
GRPO_API TokenLogprobs batch_logprobs(const CausalLM& model, const PackedBatch& batch, double temperature,
                                      bool entropy = false);
// The views of a packed batch that policy_loss takes.
GRPO_API LossBatch loss_batch(const PackedBatch& batch);

// ---- planning -------------------------------------------------------------------------------------------------------

// What a token costs in a model: {"total", "active", "cache_elements_per_token", "cache_bytes_per_token",
// "flops_per_token", ...}. docs/cli.md has every key.
GRPO_API Json plan_model(const ModelConfig& model, DType dtype);
// The same with a run's batches, tokens and bytes per phase and rank. Reads the model's configuration, the tokenizer
// and the rows (without them lengths are assumed), and no weight. Ranks are spread evenly over machines like this one.
GRPO_API Json plan_run(const RunConfig& config, int ranks = 1, int machines = 1);

// ---- optimiser ------------------------------------------------------------------------------------------------------

GRPO_API double learning_rate_at(const OptimizerSection& config, std::int64_t step, std::int64_t max_steps);

// AdamW with fp32 masters, a schedule, and clipping by the global norm. With several ranks every rank has all
// parameters and calls step(), which sums the gradients over ranks; a rank keeps the moments of one piece of every
// parameter, updates that piece and hands it to the others (ZeRO stage 1, Rajbhandari et al. 2020).
class GRPO_API Optimizer {
 public:
  // `communicator` outlives the optimiser; null: one rank.
  Optimizer(std::vector<Parameter*> parameters, const OptimizerSection& config, std::int64_t max_steps,
            Communicator* communicator = nullptr);
  Optimizer(Optimizer&&) noexcept;
  Optimizer& operator=(Optimizer&&) noexcept;
  ~Optimizer();

  struct Report {
    double grad_norm = 0;  // before clipping
    double learning_rate = 0;
  };
  // Clips, updates, frees gradients. Throws Error(Guard) on a non-finite gradient, before anything is changed.
  Report step();
  // Adds these parameters' gradients of all ranks to what this rank keeps of them, and frees them (ZeRO stage 2). Every
  // rank calls it for the same parameters, with a gradient or without. step() does it for parameters that never were.
  void reduce(const std::vector<Parameter*>& parameters);
  std::int64_t steps_done() const;
  std::int64_t state_bytes() const;  // of the moments that this rank keeps
  // Moments by parameter name in logical shapes, for checkpoints: of all ranks together, on rank 0 (every rank calls
  // it; the others get nothing). The number of ranks leaves no trace in them.
  std::vector<NamedTensor> state() const;
  // The same, one tensor at a time.
  void each_state(const std::function<void(const std::string& name, const at::Tensor& tensor)>& take) const;
  void load_state(const std::vector<NamedTensor>& state, std::int64_t steps_done);
  // The same, one tensor at a time: each by its name, in its logical shape. Every rank gets all.
  void load_each_state(const std::function<at::Tensor(const std::string& name)>& give, std::int64_t steps_done);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- trainer --------------------------------------------------------------------------------------------------------

struct RolloutReport {
  std::int64_t step = 0;
  const std::vector<RolloutGroup>* groups = nullptr;
};
struct StepReport {
  std::int64_t step = 0;  // from 1
  const Metrics* metrics = nullptr;
};

// A run: `kind: grpo` or `sft`. Owns model, tokenizer, data, rewards and the run folder.
class GRPO_API Trainer {
 public:
  // Loads model and data. Throws Error before anything is written.
  explicit Trainer(RunConfig config, Communicator communicator = Communicator::single());
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;
  ~Trainer();

  RewardSet& rewards();
  CausalLM& model();
  const Tokenizer& tokenizer() const;
  const RunConfig& config() const;

  void on_rollout(std::function<void(const RolloutReport&)> callback);  // after scoring, before the update
  void on_step(std::function<void(const StepReport&)> callback);
  void add_sink(std::unique_ptr<MetricSink> sink);

  enum class Start { Fresh, Resume };
  // All steps up to max_steps, with evaluation, checkpoints and the run folder's files. Fresh refuses a folder that
  // holds a run; Resume is for a Trainer that has taken no step yet, and refuses a config or rows that would compute
  // something else, but for fields and sections that `allow` names.
  void run(Start start = Start::Fresh, const std::vector<std::string>& allow = {});
  // One optimiser step without touching the run folder (no files, no evaluation). When it throws, the Trainer takes no
  // more: what the step left behind is of no use.
  Metrics step();
  // Greedy or sampled evaluation of `eval:` now; keys eval_*.
  Metrics evaluate();
  // Asks run() to stop after the step at hand (async-signal-safe).
  static void request_stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace grpo::inline GRPO_ABI
