// Presets: named defaults of published recipes.
#pragma once

#include <string>
#include <vector>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

std::vector<std::string> preset_names();

// The tree of a preset, with locations "preset <name>:line:column". Throws Error that lists the known ones.
Json preset_tree(const std::string& name);

// Keys that this preset adds to every item of `rewards:` that lacks them; an empty object for most.
Json preset_reward_keys(const std::string& name);

}  // namespace grpo::inline GRPO_ABI
