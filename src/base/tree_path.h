// Dotted paths into a configuration tree: "grpo.beta", "rewards.0.weight".
#pragma once

#include <string>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

const Json* find_path(const Json& tree, const std::string& path);  // null when there is nothing

// Applies "path=value" with a value in YAML syntax; it replaces what stood there. Keys of missing sections are made,
// items of lists must exist. Throws Error that quotes the override.
void apply_override(Json& tree, const std::string& text);

// `over` on top of `base`: objects key by key, everything else replaced.
Json merge_trees(Json base, const Json& over);

}  // namespace grpo::inline GRPO_ABI
