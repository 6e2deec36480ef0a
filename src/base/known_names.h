// Names that people bring from other trainers: what they are called here, or why they have no place.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

struct Alias {
  std::string_view path;  // dotted, where people write it
  std::string_view key;   // dotted, the key it stands for
};
std::span<const Alias> aliases();

// Renames aliases in a run's tree to the keys they stand for. Throws Error when both are given.
void rename_aliases(Json& tree);
// The same for one dotted path ("grpo.ref_model_sync_steps" to "grpo.ref_sync_steps").
std::string rename_alias(const std::string& path);

// What to say about a key that its section does not have; "" when nothing is known of it.
std::string explain_key(const std::string& section, const std::string& key);

}  // namespace grpo::inline GRPO_ABI
