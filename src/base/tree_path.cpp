#include "base/tree_path.h"

#include <charconv>
#include <optional>

#include "base/known_names.h"
#include "base/nearest.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::optional<std::size_t> list_index(const Json& list, const std::string& part) {
  std::size_t index = 0;
  const auto result = std::from_chars(part.data(), part.data() + part.size(), index);
  const bool whole = result.ec == std::errc() && result.ptr == part.data() + part.size();
  return whole && index < list.size() ? std::optional(index) : std::nullopt;
}

void forget_location(Json& tree) {
  tree.set_location(nullptr, 0, 0);
  if (tree.is_list()) {
    for (Json& item : tree.as_list()) forget_location(item);
  } else if (tree.is_object()) {
    for (auto& entry : tree.as_object()) forget_location(entry.second);
  }
}

}  // namespace

const Json* find_path(const Json& tree, const std::string& path) {
  const Json* node = &tree;
  for (const std::string& part : split(path)) {
    if (node->is_list()) {
      const auto index = list_index(*node, part);
      node = index ? &node->as_list()[*index] : nullptr;
    } else {
      node = node->find(part);
    }
    if (!node) return nullptr;
  }
  return node;
}

void apply_override(Json& tree, const std::string& text) {
  auto fail = [&](const std::string& message) { throw Error("override \"" + text + "\": " + message); };
  const std::size_t equals = text.find('=');
  if (equals == text.npos || equals == 0) fail("expected key=value");
  Json value;
  try {
    value = parse_yaml(std::string_view(text).substr(equals + 1), "value");
  } catch (const Error& error) {
    fail(error.what());
  }
  forget_location(value);
  if (tree.is_null()) tree = Json::Object{};
  Json* node = &tree;
  std::string above;
  for (const std::string& part : split(rename_alias(text.substr(0, equals)))) {
    if (part.empty()) fail("expected key=value, got an empty part in the key");
    if (node->is_list()) {
      const auto index = list_index(*node, part);
      if (!index) {
        fail("expected an index below " + std::to_string(node->size()) + " after \"" + above + "\", got \"" + part +
             "\"");
      }
      node = &node->as_list()[*index];
    } else {
      if (!node->is_object() && !node->is_null()) fail("\"" + above + "\" has no keys");
      if (node->is_null() && part.find_first_not_of("0123456789") == part.npos)
        fail("there is no list \"" + above + "\"");
      node = &(*node)[part];
    }
    above += (above.empty() ? "" : ".") + part;
  }
  *node = std::move(value);
}

Json merge_trees(Json base, const Json& over) {
  if (!base.is_object() || !over.is_object()) return over;
  for (const auto& [key, value] : over.as_object()) {
    Json& place = base[key];
    place = merge_trees(std::move(place), value);
  }
  return base;
}

}  // namespace grpo::inline GRPO_ABI
