// What stands around training: evaluation of a model on a task.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <grpo/config.h>
#include <grpo/model.h>
#include <grpo/reward.h>
#include <grpo/rollout.h>

namespace grpo::inline GRPO_ABI {

// 1 - C(n-c, k) / C(n, k): the chance that k of n draws, c of them right, hold a right one (Chen et al. 2021, eq. 1).
GRPO_API double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k);

struct EvaluationOptions {
  int k = 16;                // draws per prompt
  double temperature = 1.0;  // 0 with k = 1: greedy
  std::int64_t max_new_tokens = 512;
  std::vector<std::string> stop;
  std::int64_t cache_tokens = 65536;
  std::int64_t seed = 42;
  int max_prompts = 0;  // 0: all
  std::string reward;   // which reward decides "right" (score >= 1); empty: the first
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};

struct Evaluation {
  std::int64_t n = 0;  // prompts
  int k = 0;
  double pass_at_1 = 0;       // mean over prompts of the share of right draws
  double standard_error = 0;  // of pass@1 over prompts
  double pass_at_k = 0;
  double cons_at_k = 0;    // majority answer, as the deciding reward reads it, right (ties: the first seen)
  double mean_length = 0;  // tokens
  double truncated = 0;    // share of draws that ended by length
  struct Sample {
    std::string prompt, completion;
    double score = 0;
  };
  std::vector<Sample> first_samples;  // draw 0 of the first prompts, to look at
};

GRPO_API Evaluation evaluate(const CausalLM& model, const Tokenizer& tokenizer, const Dataset& dataset,
                             const DataSection& data, RewardSet& rewards, const EvaluationOptions& options);
GRPO_API Json to_json(const Evaluation& evaluation);

}  // namespace grpo::inline GRPO_ABI
