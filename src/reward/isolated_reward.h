// A plug-in's reward in worker processes, for code that may hang or crash.
#pragma once

#include <grpo/reward.h>

#include <memory>

namespace grpo::inline GRPO_ABI {

// One worker per thread that scores at a time, started when needed, killed at `timeout_s` of a call, replaced after it
// died. So calls keep their deadline by themselves: RewardFailure tells of a passed one or of a dead worker.
std::unique_ptr<Reward> make_isolated_reward(const RewardEntry& entry);

}  // namespace grpo::inline GRPO_ABI
