// The other end of an isolated reward: the loop of grpo-reward-worker.
#pragma once

namespace grpo::inline GRPO_ABI {

// Serves the socket kWorkerSocket until its other end closes; returns the exit code. When the other end closes while
// the plug-in works, the process group kills itself.
int serve_reward();

}  // namespace grpo::inline GRPO_ABI
