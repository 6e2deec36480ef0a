// What must hold in every step of a group-reward run, as numbers that are 0 when it does.
#pragma once

#include <cstdint>
#include <vector>

#include <grpo/train.h>

namespace grpo::inline GRPO_ABI {

// Groups of which fewer than `num_generations` answers carry a score into the loss.
double incomplete_groups(const std::vector<RolloutGroup>& groups, int num_generations);
// The largest |sum of advantages| of a group; rounding alone where the baseline is the group's own mean.
double largest_advantage_sum(const std::vector<RolloutGroup>& groups);
// |unmasked tokens, of all micro-batches and ranks - tokens of the answers that carry a score and are not masked as
// truncated|.
double mask_sum_error(double unmasked_tokens, const std::vector<AnswerRef>& answers, bool mask_truncated);

}  // namespace grpo::inline GRPO_ABI
