// The Llama family; biases on request.
#pragma once

#include "model/families.h"

namespace grpo::inline GRPO_ABI {

Family llama_family();

}  // namespace grpo::inline GRPO_ABI
