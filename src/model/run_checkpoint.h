// How a run folder names the steps of its checkpoints and rollouts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

// Of "step-12": 12; of any other name nothing.
std::optional<std::int64_t> step_in_name(const std::string& name);
// The folder of a step's checkpoint, there or not.
std::string checkpoint_path(const std::string& run_folder, std::int64_t step);

}  // namespace grpo::inline GRPO_ABI
