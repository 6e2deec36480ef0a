// How much the skeleton of a completion is like that of a template.
#pragma once

#include <vector>

#include "reward/tag_skeleton.h"

namespace grpo::inline GRPO_ABI {

// cos(v, w) * min(n, m) / max(n, m) for skeletons of n and m pieces, where v and w count the pieces and the pairs of
// neighbours, start and end included: pairs hold the order, the ratio of sizes the repetition. From 0 to 1, and 1 for
// the template alone; 0 when there is no tag.
double template_similarity(const std::vector<Piece>& pieces, const std::vector<Piece>& pattern);

}  // namespace grpo::inline GRPO_ABI
