// Where and with what a run computes.
#pragma once

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

// {"grpo", "abi", "build_type", "compiler", "libtorch", "kernels", "cpu", "cpus", "threads", "memory_bytes",
// "available_memory_bytes", "os"}; null: unknown. No name of a host or a user and no path.
Json environment();

}  // namespace grpo::inline GRPO_ABI
