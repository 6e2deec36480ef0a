// Sizes of the chunked head (token_logprobs) that memory plans count with.
#pragma once

#include <cstdint>

#include "kernels/softmax.h"

namespace grpo::ops {

inline constexpr std::int64_t kHeadSlab = 8 * kernels::kVocabChunk;  // entries of the vocabulary whose logits are there
inline constexpr std::int64_t kTargetStatsBytes = sizeof(kernels::RowStats);

}  // namespace grpo::ops
