// Where thinking ends and the answer begins; the public half is split_segments in <grpo/reward.h>.
#pragma once

#include <string_view>

namespace grpo::inline GRPO_ABI {

// True when the last think tag of `prompt` is an opening one: the completion starts inside the thinking.
bool ends_inside_think(std::string_view prompt);

}  // namespace grpo::inline GRPO_ABI
