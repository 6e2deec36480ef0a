// The algorithm: advantages from rewards, and the policy loss from log-probs. Plain numbers in, plain numbers out, all
// in double; nothing here knows a model, a rollout or a process. Equations: docs/algorithms.md.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <grpo/config.h>
#include <grpo/error.h>

namespace at {
class Tensor;
}

namespace grpo::inline GRPO_ABI {

// ---- advantages -------------------------------------------------------------------------------------------------

// Rewards of a whole rollout, before it is split into minibatches.
struct AdvantageInput {
  std::span<const double> rewards;  // [samples * num_rewards], row-major; NaN: missing
  std::size_t num_rewards = 1;
  std::span<const double> weights;         // [num_rewards]
  std::span<const MissingReward> missing;  // [num_rewards]; empty: all Exclude
  // Groups may differ in size: offsets [groups + 1] into the samples.
  std::span<const std::int64_t> group_offsets;
  // [groups * num_rewards]; 1: the reward does not apply to the group and has no effect there. Empty: all apply.
  std::span<const std::uint8_t> absent;
};

struct AdvantageResult {
  std::vector<double> advantages;         // [samples]; 0 where excluded
  std::vector<double> totals;             // weighted sum per sample; NaN where excluded
  std::vector<std::uint8_t> included;     // [samples]; 0: unscorable, leaves numerator and denominator of the loss
  std::map<std::string, double> metrics;  // reward, reward_std, frac_reward_zero_std, rewards/num_missing, ...
};

// A zero-spread group (max = min within rounding) has advantage exactly 0. Throws Error on infinite rewards, sizes that
// do not fit, and settings that contradict each other (normalize_then_sum has its own baseline and scale).
GRPO_API AdvantageResult advantages(const AdvantageInput& input, const AdvantageConfig& config);

// Process supervision (DeepSeekMath 4.1.3): step rewards of one group, each at the token index of its step's end;
// normalised over all step rewards of the group, then summed over the steps that end at or after each token.
struct StepReward {
  std::int64_t sample = 0, token = 0;
  double reward = 0;
};
GRPO_API std::vector<std::vector<double>> process_advantages(std::span<const StepReward> steps,
                                                             std::span<const std::int64_t> lengths,
                                                             const AdvantageConfig& config);

// ---- policy loss --------------------------------------------------------------------------------------------------

// Tokens of completions, flat; completion s owns tokens [offsets[s], offsets[s+1]).
struct LossBatch {
  std::span<const double> logps;          // [N] of the policy that is trained
  std::span<const double> old_logps;      // [N], or empty: logps, detached (on policy)
  std::span<const double> ref_logps;      // [N], or empty when beta is 0
  std::span<const double> sampler_logps;  // [N], or empty: no sampler correction
  std::span<const double> entropies;      // [N], or empty when entropy_coef is 0 (metrics then lack entropy)
  std::span<const double> advantages;     // [N] per token
  std::span<const std::uint8_t> mask;     // [N]; 1: the token counts
  std::span<const std::int64_t> offsets;  // [completions + 1]
};

// They span the optimiser step and all ranks; loss functions only ever divide by what they are given.
struct Denominators {
  double sequences = 0;  // completions with at least one unmasked token
  double tokens = 0;     // unmasked tokens
};
GRPO_API Denominators count_denominators(std::span<const std::uint8_t> mask, std::span<const std::int64_t> offsets);

struct LossResult {
  double loss = 0;                   // this batch's share of the step's loss
  std::vector<double> grad;          // [N] d loss / d logps
  std::vector<double> entropy_grad;  // [N] d loss / d entropies; empty when entropy_coef is 0
  // Sums over this batch; finish_loss_metrics divides after all micro-batches and ranks are added. Keys beginning with
  // "min:" and "max:" combine by minimum and maximum, all others by addition.
  std::map<std::string, double> sums;
};

// Throws Error on contradictory settings (see validate_loss), sizes that do not fit or non-finite masked-in values.
GRPO_API LossResult policy_loss(const LossBatch& batch, const LossConfig& config, const Denominators& denominators);
GRPO_API void validate_loss(const LossConfig& config);

GRPO_API void add_loss_sums(std::map<std::string, double>& into, const std::map<std::string, double>& from);
// TRL's names: policy_loss, kl, entropy, clip_ratio/{low,high,region}_mean, ratio/{min,mean,max},
// sampling/sampling_logp_difference/{mean,max}, ...
GRPO_API std::map<std::string, double> finish_loss_metrics(const std::map<std::string, double>& sums);

// The same as an autograd node for custom loops: `logprobs` [N] (fp32, requires grad), entropies [N] or undefined; the
// spans of `batch.logps` and `batch.entropies` are ignored and taken from the tensors. Returns the scalar loss.
GRPO_API at::Tensor policy_loss(const at::Tensor& logprobs, const at::Tensor& entropies, const LossBatch& batch,
                                const LossConfig& config, const Denominators& denominators,
                                std::map<std::string, double>* sums = nullptr);

}  // namespace grpo::inline GRPO_ABI
