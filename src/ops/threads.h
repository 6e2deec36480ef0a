// What the kernels run on: LibTorch's own thread pool and one instruction set per process.
#pragma once

#include "kernels/linear.h"
#include "kernels/threads.h"

namespace grpo::ops {

// One task per thread of LibTorch's pool; an exception of a task that run() calls is rethrown to the caller. Inside a
// task, and in a region of LibTorch's own, work runs on the calling thread.
kernels::Team team();
kernels::Isa isa();

}  // namespace grpo::ops
