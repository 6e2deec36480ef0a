// Sampling: groups of answers to prompts, over live sequences that share a prompt's cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <grpo/model.h>
#include <grpo/text.h>

namespace grpo::inline GRPO_ABI {

// One sampled answer. `ids` include the stop token; `text` has no special tokens and no stop string.
struct Completion {
  std::vector<std::int32_t> ids;
  std::vector<float> logprobs;  // of each id under the distribution it was drawn from (temperature 0: the raw one)
  FinishReason finish_reason = FinishReason::Length;
  std::string text;
};

// Why a score is what it is: a short stable code ("correct", "no_answer") and a sentence for people.
struct ScoreReason {
  std::string verdict, why;
};

// One prompt, its answers, and what became of them.
struct RolloutGroup {
  Prompt prompt;
  std::vector<Completion> completions;
  std::vector<std::vector<double>> rewards;        // [completion][reward]; NaN: missing
  std::vector<std::vector<ScoreReason>> verdicts;  // [completion][reward]
  std::vector<std::uint8_t> absent;                // [reward]; 1: does not apply to this prompt
  std::vector<double> advantages;                  // [completion]
  std::vector<std::uint8_t> included;              // [completion]; 0: unscorable, leaves the loss
  std::int64_t weights_version = 0;                // optimiser steps behind the weights that sampled it
};

// Where a draw's randomness comes from: with the sample's index and the token's position, a full address. The same
// address gives the same text whatever the batch, the order or the rank.
struct SampleAddress {
  std::int64_t seed = 42;
  std::uint32_t stage = 0;  // kStage* below
  std::uint64_t step = 0;
  std::uint64_t row = 0;
  std::uint64_t occurrence = 0;  // of the same row within the step
};
inline constexpr std::uint32_t kStageTrain = 1, kStageEval = 4, kStageGenerate = 7;

struct SampleRequest {
  std::vector<std::int32_t> ids;  // the prompt, at least one token
  int num_samples = 1;
  SampleAddress address;
};

struct SamplerOptions {
  double temperature = 1.0;
  std::int32_t top_k = 0;             // 0: off
  double top_p = 1.0;                 // 1: off
  double min_p = 0.0;                 // 0: off
  std::int64_t max_new_tokens = 512;  // less where the context ends first
  std::vector<std::string> stop;      // stop strings
  bool ignore_eos = false;            // stop ids are ordinary tokens
  std::int64_t cache_tokens = 65536;  // bound on cached tokens of live sequences
  std::function<void(std::int64_t finished, std::int64_t total, std::int64_t tokens)>
      progress;                     // after every decode step
  std::function<bool()> cancelled;  // true: what is unfinished ends as Cancelled
};

// Uses the model's own forward: same code and weights as training. `tokenizer` may be null: no text and no stop
// strings.
class GRPO_API Sampler {
 public:
  Sampler(const CausalLM& model, const Tokenizer* tokenizer);

  // result[r][s] belongs to sample s of request r. Throws Error when a prompt does not fit the context or the budget.
  std::vector<std::vector<Completion>> generate(const std::vector<SampleRequest>& requests,
                                                const SamplerOptions& options) const;

 private:
  const CausalLM* model_;
  const Tokenizer* tokenizer_;
};

}  // namespace grpo::inline GRPO_ABI
