#include <grpo/config.h>

#include "base/config_fields.h"
#include "base/config_rules.h"
#include "base/known_names.h"
#include "base/presets.h"
#include "base/tree_path.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Resolved configurations are saved with the run, so nothing of the environment may get into them.
void refuse_environment(const Json& tree, const std::string& path) {
  auto child = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
  auto refuse = [](const std::string& text, const Json& node, const std::string& at) {
    if (text.find("${env:") == text.npos) return;
    const std::string where = node.where();
    throw Error((where.empty() ? "" : where + ": ") + at + ": ${env:...} is refused; write the value itself");
  };
  if (tree.is_string()) {
    refuse(tree.as_string(), tree, path);
  } else if (tree.is_list()) {
    for (std::size_t i = 0; i < tree.size(); ++i) refuse_environment(tree.as_list()[i], child(std::to_string(i)));
  } else if (tree.is_object()) {
    for (const auto& [key, value] : tree.as_object()) {
      refuse(key, value, path);
      refuse_environment(value, child(key));
    }
  }
}

// Puts the preset that the tree names under it.
void apply_preset(Json& tree) {
  const Json* named = tree.find("preset");
  if (!named || !named->is_string() || named->as_string().empty()) return;
  const std::string preset = named->as_string();
  const std::string where = named->where();
  Json defaults, reward_keys;
  try {
    defaults = preset_tree(preset);
    reward_keys = preset_reward_keys(preset);
  } catch (const Error& error) {
    throw Error((where.empty() ? "" : where + ": ") + error.what());
  }
  tree = merge_trees(std::move(defaults), tree);
  const Json* rewards = tree.find("rewards");
  if (!rewards || !rewards->is_list()) return;
  for (Json& item : tree["rewards"].as_list()) {
    for (const auto& [key, value] : reward_keys.as_object()) {
      if (item.is_object() && !item.find(key)) item[key] = value;
    }
  }
}

RunConfig build(Json tree, const std::string& source, Command command, RewardsFrom rewards) {
  refuse_environment(tree, "");
  apply_preset(tree);
  RunConfig config;
  fields::read_fields(fields::run_fields(), config, tree, {"", source, explain_key});
  config.source = source;
  apply_implications(config.grpo, tree);
  check_rules(config, command, &tree, rewards);
  return config;
}

// The tree of a file or program, with one name per key. An empty file has no keys.
Json with_own_names(Json tree) {
  if (tree.is_null()) tree = Json::Object{};
  if (!tree.is_object()) fields::field_error(tree, {}, "keys and values");
  rename_aliases(tree);
  return tree;
}

RunConfig load(const std::string& path, const std::vector<std::string>& overrides, Command command,
               RewardsFrom rewards) {
  Json tree = with_own_names(load_tree(path));
  for (const std::string& each : overrides) {
    // A preset's keys can be overridden one by one, so it must be in the tree before them.
    if (each.rfind("preset=", 0) == 0) apply_override(tree, each);
  }
  apply_preset(tree);
  for (const std::string& each : overrides) apply_override(tree, each);
  return build(with_own_names(std::move(tree)), path, command, rewards);
}

}  // namespace

RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides, Command command) {
  return load(path, overrides, command, RewardsFrom::File);
}

RunConfig load_config(int argc, const char* const* argv) {
  const std::string program = argc > 0 ? argv[0] : "program";
  GRPO_CHECK(argc >= 2, "usage: " + program + " RUN.yaml [key=value ...]");
  return load(argv[1], {argv + 2, argv + argc}, Command::Train, RewardsFrom::FileOrCode);
}

RunConfig config_from_tree(const Json& tree, Command command) {
  return build(with_own_names(tree), "", command, RewardsFrom::File);
}

GrpoSection grpo_section_from_tree(const Json& tree) {
  Json whole;
  whole["grpo"] = tree.is_null() ? Json(Json::Object{}) : tree;
  rename_aliases(whole);
  for (const auto& [key, value] : whole.as_object()) {
    if (key == "grpo") continue;
    const auto& [name, moved] = value.as_object().front();  // an alias of a key outside of the section
    fields::unknown_key(moved, {"grpo", "", explain_key}, name, {});
  }
  refuse_environment(whole, "");
  GrpoSection section;
  fields::read_fields(fields::grpo_fields(), section, whole.at("grpo"), {"grpo", "", explain_key});
  apply_implications(section, whole);
  check_loss_rules(section, &whole);
  return section;
}

Json config_to_tree(const RunConfig& config) { return fields::write_fields(fields::run_fields(), config); }

}  // namespace grpo::inline GRPO_ABI
