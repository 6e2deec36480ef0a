// The shared library of a plug-in, and what its rewards declare. Sizes and pointers of a table are checked before use.
#pragma once

#include <grpo/json.h>
#include <grpo/plugin_abi.h>

#include <string>
#include <vector>

#include "base/fields.h"

namespace grpo::inline GRPO_ABI {

struct PluginParam {
  std::uint32_t type = GRPO_NUMBER;
  std::string name, doc;
  bool is_required = false;
  Json default_value;  // null when it is required
  fields::Range range;
};

struct PluginDeclaration {
  std::string type, doc;
  bool compares_answers = false, has_applies = false, has_check_row = false;
  std::vector<PluginParam> params;
};

struct Plugin {
  const grpo_reward_v1* table = nullptr;
  PluginDeclaration declaration;
};

// The reward `type` of the library at `path`, which stays loaded for ever: abandoned threads may still run its code.
// Throws Error naming the file and what is wrong with it.
Plugin load_plugin(const std::string& path, const std::string& type);

// The value of each declared parameter, in their order. Errors name file:line and `rewards.<name>.params.<key>`.
Json::List plugin_values(const PluginDeclaration& declaration, const std::string& name, const Json& params);

// Text of a plug-in as it may be shown: well-formed UTF-8, of `size` bytes at most, up to a NUL.
std::string plugin_text(const char* bytes, std::size_t size);

}  // namespace grpo::inline GRPO_ABI
