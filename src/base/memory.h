// What the machine, or the control group that the process is in, has left.
#pragma once

#include <cstdint>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

// Bytes that each of `sharers` processes on this machine may still take: a part of what the system counts as available,
// or of what a control group leaves; 0 when neither can be read.
std::int64_t available_memory(int sharers = 1);

}  // namespace grpo::inline GRPO_ABI
