// Rewards of plug-ins.
#pragma once

#include <grpo/reward.h>

#include <memory>

#include "reward/plugin_library.h"

namespace grpo::inline GRPO_ABI {

// The reward that an entry with `plugin:` names, in this process or in worker processes as its `isolation` says.
std::unique_ptr<Reward> make_plugin_reward(const RewardEntry& entry);

// In this process. `values`: one for each declared parameter (plugin_values).
std::unique_ptr<Reward> make_plugin_reward(const std::string& name, const Plugin& plugin, const Json::List& values);

}  // namespace grpo::inline GRPO_ABI
