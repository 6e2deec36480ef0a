// The Llama family: RMS norm, rotary grouped-query attention, SwiGLU; no biases.
#pragma once

#include "model/families.h"

namespace grpo {

Family llama_family();

}  // namespace grpo
