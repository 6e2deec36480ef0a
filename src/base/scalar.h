// Plain YAML scalars under the core schema of YAML 1.2: null, true, false, integers, floats, else text.
#pragma once

#include <string>
#include <string_view>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

// The typed value of a plain scalar. Throws Error when a number does not fit.
Json plain_scalar(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
