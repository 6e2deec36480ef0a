// The Llama family; biases on request.
#pragma once

#include "model/families.h"

namespace grpo {

Family llama_family();

}  // namespace grpo
