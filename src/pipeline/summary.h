// The figures of an evaluation, from draws that are scored.
#pragma once

#include <span>

#include <grpo/pipeline.h>

#include "train/rollouts.h"

namespace grpo::inline GRPO_ABI {

// A draw is right where `reward` gave it 1 or more. At least one group; all have request.num_generations draws.
Evaluation summarise(std::span<const RolloutGroup> groups, const RewardSet& rewards, std::size_t reward,
                     const SampleAndScore& request);

struct MeanAndError {
  double mean = 0;
  double standard_error = 0;  // of the mean: sqrt(variance with n - 1, over n); 0 for a single value
};
MeanAndError mean_and_error(std::span<const double> values);

}  // namespace grpo::inline GRPO_ABI
