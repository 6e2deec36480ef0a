// JSON Lines files that a process appends to, a whole line at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

// Calls `row` with every line and the offset at which it ends, until it says false. A last line without its newline is
// what a killed process left, and is no row. Throws Error with file and line on a line that is no JSON.
void for_each_jsonl_row(const std::string& path, const std::function<bool(Json row, std::uint64_t end)>& row);

}  // namespace grpo::inline GRPO_ABI
