// The Qwen3 family (dense): an RMS norm of each query and key head, no biases.
#pragma once

#include "model/families.h"

namespace grpo::inline GRPO_ABI {

Family qwen3_family();

}  // namespace grpo::inline GRPO_ABI
