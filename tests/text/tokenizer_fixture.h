// The small committed tokenizer and the changes that the golden files make to it.
#pragma once

#include <string>

#include <grpo/json.h>
#include <grpo/text.h>

#include "base/files.h"

namespace grpo::test {

inline Json golden(const std::string& name) {
  const std::string path = std::string(GRPO_SOURCE_DIR) + "/tests/golden/tokenizer/" + name;
  return parse_json(read_file(path), {.source = name});
}

inline const Json& base_tree() {
  static const Json tree = golden("base.json");
  return tree;
}

inline Tokenizer from_tree(const Json& tree, std::string_view config = {}) {
  return Tokenizer::from_json(tree.dump(), config, "t.json");
}

inline Json added_token(const std::string& content, std::int64_t id, bool special = true) {
  return Json(Json::Object{{"id", id},
                           {"content", content},
                           {"single_word", false},
                           {"lstrip", false},
                           {"rstrip", false},
                           {"normalized", false},
                           {"special", special}});
}

inline std::vector<std::int32_t> ids_of(const Json& list) {
  std::vector<std::int32_t> ids;
  for (const Json& id : list.as_list()) ids.push_back(static_cast<std::int32_t>(id.as_int()));
  return ids;
}

// The message of the Error that `call` throws; "" when it throws none.
template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace grpo::test
