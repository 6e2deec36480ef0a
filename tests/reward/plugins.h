// Entries that name the plug-ins built for the tests.
#pragma once

#include <string>

#include "reward/inputs.h"

namespace grpo::test {

inline std::string plugin_path(const std::string& name) { return GRPO_TEST_PLUGINS "/lib" + name + ".so"; }

inline RewardEntry plugin_entry(const std::string& library, const std::string& type,
                                Isolation isolation = Isolation::None, const std::string& params = "") {
  RewardEntry made = entry(type, type, params.empty() ? Json() : parse_yaml(params, "run.yaml"));
  made.plugin = plugin_path(library);
  made.isolation = isolation;
  return made;
}

}  // namespace grpo::test
