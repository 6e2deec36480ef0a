// The name that someone who mistyped probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`; no stretch is edited twice.
int edit_distance(std::string_view a, std::string_view b);

// The candidate closest to `name`, at most 2 edits away (1 for names of up to 4 characters), else one that `name`
// starts or that starts `name` (3 characters at least); "" when there is none. Ties go to the first.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

// " (did you mean X?)" or "".
std::string nearest_hint(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace grpo::inline GRPO_ABI
