// Sizes of the sampler's work that memory plans count with.
#pragma once

#include <cstdint>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

// Prompts prefilled in one forward hold at most this many tokens, or are one.
inline constexpr std::int64_t kPrefillTokens = 4096;
// Rows of logits that exist at once.
inline constexpr std::int64_t kSamplerLogitRows = 128;

}  // namespace grpo::inline GRPO_ABI
