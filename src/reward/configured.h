// The rewards that a run file names.
#pragma once

#include <grpo/config.h>
#include <grpo/reward.h>

namespace grpo::inline GRPO_ABI {

// Throws Error naming the entry that cannot be made. `num_threads`: of the workers that score.
RewardSet configured_rewards(const RunConfig& config, int num_threads);

}  // namespace grpo::inline GRPO_ABI
