#include "train/config_check.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/files.h"
#include "base/known_names.h"
#include "base/nearest.h"
#include "base/tree_path.h"

namespace grpo::inline GRPO_ABI {
namespace {

// How long (see rate_follows_length), how often, where and with how many threads: never what is computed.
constexpr std::array<std::string_view, 12> kMayChange = {
    "max_steps", "output_dir", "save_every",       "threads",     "log_completions",
    "eval",      "name",       "keep_checkpoints", "distributed", "max_failure_fraction",
    "trace",     "train"};

bool may_change(std::string_view key) {
  return std::find(kMayChange.begin(), kMayChange.end(), key) != kMayChange.end();
}

// A learning rate that falls until the last step.
bool rate_follows_length(const Json& config) {
  const std::string& schedule = config.at("optimizer").at("schedule").as_string();
  return schedule == "linear" || schedule == "cosine";
}

void compare(const Json& before, const Json& now, const std::string& path, std::vector<FieldDifference>& found) {
  if (before == now) return;
  const auto below = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
  if (before.is_object() && now.is_object()) {
    for (const auto& [key, value] : before.as_object()) {
      if (path.empty() && may_change(key)) continue;
      const Json* other = now.find(key);
      compare(value, other ? *other : Json(), below(key), found);
    }
    for (const auto& [key, value] : now.as_object())
      if (!before.find(key) && !(path.empty() && may_change(key))) compare(Json(), value, below(key), found);
  } else if (before.is_list() && now.is_list() && before.size() == now.size()) {
    for (std::size_t i = 0; i < now.size(); ++i)
      compare(before.as_list()[i], now.as_list()[i], below(std::to_string(i)), found);
  } else {
    found.push_back({path, fmt::format("{}: {} in the run, {} now", path, before.dump(), now.dump())});
  }
}

// Every field and section below `tree`, for hints.
void collect_paths(const Json& tree, const std::string& above, std::vector<std::string>& paths) {
  if (!tree.is_object()) return;
  for (const auto& [key, value] : tree.as_object()) {
    paths.push_back(above + key);
    collect_paths(value, above + key + ".", paths);
  }
}

}  // namespace

std::vector<FieldDifference> differences(const Json& before, const Json& now) {
  std::vector<FieldDifference> found;
  compare(before, now, "", found);
  if (rate_follows_length(before) || rate_follows_length(now))
    compare(before.at("max_steps"), now.at("max_steps"), "max_steps", found);
  return found;
}

std::string config_checksum(const Json& config) {
  Json decides = config;
  std::erase_if(decides.as_object(), [](const auto& entry) { return may_change(entry.first); });
  return checksum_hex(decides.dump());
}

Json data_checksums(const RunConfig& config) {
  Json checksums = Json::Object{{"data.train", checksum_of_file(config.data.train)}};
  if (!config.eval.data.empty()) checksums["eval.data"] = checksum_of_file(config.eval.data);
  return checksums;
}

AllowedChanges::AllowedChanges(const std::vector<std::string>& names, const RunConfig& config) {
  const Json tree = config_to_tree(config);
  std::vector<std::string> known;
  collect_paths(tree, "", known);
  for (const std::string& given : names) {
    const std::string name = rename_alias(given);
    GRPO_CHECK(find_path(tree, name), fmt::format("--allow: expected a field or section of the config, got \"{}\"{}",
                                                  given, nearest_hint(name, known)));
    names_.push_back(name);
  }
}

bool AllowedChanges::contains(const std::string& field) const {
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
    return field == name || (field.starts_with(name) && field[name.size()] == '.');
  });
}

}  // namespace grpo::inline GRPO_ABI
