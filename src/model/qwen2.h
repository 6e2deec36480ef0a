// The Qwen2 family (Qwen2, Qwen2.5): biases of queries, keys and values.
#pragma once

#include "model/families.h"

namespace grpo::inline GRPO_ABI {

Family qwen2_family();

// Qwen's configs name a window and say beside it whether it is used: throws Error when it is, in some layer.
void refuse_used_window(const Json& config_json, const ModelConfig& config);

}  // namespace grpo::inline GRPO_ABI
