// What stands around training: evaluation of a model on a task, before and after, on problems it has not seen.
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
  int max_prompts = 0;                 // 0: all
  std::string reward;                  // which reward decides "right" (score >= 1); empty: the first
  std::vector<std::size_t> leave_out;  // rows of the dataset that are not asked; they count towards max_prompts
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
  struct Problem {
    std::uint64_t row = 0;  // of the dataset
    double pass_at_1 = 0;   // share of right draws
  };
  std::vector<Problem> problems;  // all n, in order
  std::int64_t left_out = 0;      // prompts of EvaluationOptions::leave_out
};

GRPO_API Evaluation evaluate(const CausalLM& model, const Tokenizer& tokenizer, const Dataset& dataset,
                             const DataSection& data, RewardSet& rewards, const EvaluationOptions& options);
GRPO_API Json to_json(const Evaluation& evaluation);

// What changed on the problems that two evaluations share, paired problem by problem. With the same seed and k the two
// models draw with the same random numbers.
struct Comparison {
  std::int64_t n = 0;                  // problems in both
  double difference = 0;               // of pass@1: after less before, mean over the problems
  double standard_error = 0;           // of the difference, from the problems' own differences
  std::int64_t better = 0, worse = 0;  // problems whose pass@1 rose, fell
  double p_value = 1;                  // exact two-sided sign test of better against worse
};
GRPO_API Comparison compare(const Evaluation& before, const Evaluation& after);
GRPO_API Json to_json(const Comparison& comparison);

struct ContaminatedRow {
  std::size_t row = 0;   // of the held-out dataset
  std::string found_in;  // "train.jsonl:12"
  std::string shared;    // the words in question
};
// The held-out problems that share `n` words in a row with a text of the training data; a problem of fewer words must
// be such a text as a whole. Case, punctuation and white space do not count; single signs of arithmetic beside a digit
// are words; so is each Han or kana character. A problem is its prompt column, or the user's messages; training texts
// are the prompt column, or each message that is not the system's, `completion` and the answer column, each on its own.
// Exact (no hash decides); time is that of hashing n words for each word, memory some 100 bytes for each word of the
// held-out problems. Throws Error naming file:line of a row without a problem.
GRPO_API std::vector<ContaminatedRow> contaminated_rows(const Dataset& held_out, const Dataset& training,
                                                        const DataSection& data, int n = 13);

}  // namespace grpo::inline GRPO_ABI
