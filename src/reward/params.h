// The params of a reward as config fields.
#pragma once

#include <string>

#include "base/fields.h"

namespace grpo::inline GRPO_ABI {

// Where the params of reward `name` stand, for the field readers.
inline fields::FieldContext params_context(const std::string& name) { return {"rewards." + name + ".params", "", {}}; }

// Throws for a parameter that `params` must set and does not.
[[noreturn]] inline void missing_param(const Json& params, const fields::FieldContext& context, const std::string& key,
                                       const std::string& type) {
  throw Error((params.where().empty() ? "" : params.where() + ": ") + context.child(key).path + ": expected a value (" +
              type + "), got none");
}

}  // namespace grpo::inline GRPO_ABI
