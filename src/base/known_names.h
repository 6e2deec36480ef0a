// Names that people bring from other trainers: what they are called here, or why they have no place.
#pragma once

#include <string>

#include <grpo/json.h>

namespace grpo {

// Renames aliases to the keys they stand for, in every section of a run's tree. Throws Error when both are given.
void rename_aliases(Json& tree);
// The same for the last part of a dotted path ("grpo.ref_model_sync_steps" to "grpo.ref_sync_steps").
std::string rename_alias(const std::string& path);

// What to say about a key that its section does not have; "" when nothing is known of it.
std::string explain_key(const std::string& section, const std::string& key);

}  // namespace grpo
