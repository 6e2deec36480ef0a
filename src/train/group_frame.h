// Groups as bytes: what ranks send each other and what the journal keeps.
#pragma once

#include <grpo/rollout.h>

#include "base/frame.h"

namespace grpo::inline GRPO_ABI {

// Completions, rewards, verdicts and absent rewards; not the prompt, and nothing that follows from them.
void write_group(FrameWriter& out, const RolloutGroup& group);
void read_group(FrameReader& in, RolloutGroup& group);

}  // namespace grpo::inline GRPO_ABI
