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

// The base vocabulary without the tokens that hold a letter of `drop`, renumbered in order.
inline void add_vocabulary(Json& tree, const std::string& drop) {
  auto dropped = [&](const std::string& token) {
    for (std::size_t i = 0; i < drop.size();) {
      const std::size_t length = static_cast<unsigned char>(drop[i]) < 0x80 ? 1 : 2;
      if (token.find(drop.substr(i, length)) != std::string::npos) return true;
      i += length;
    }
    return false;
  };
  Json::Object vocab;
  for (const auto& [token, id] : base_tree().at("model").at("vocab").as_object()) {
    if (!dropped(token)) vocab.emplace_back(token, vocab.size());
  }
  Json::List merges;
  for (const Json& merge : base_tree().at("model").at("merges").as_list()) {
    if (!dropped(merge.as_list()[0].as_string() + merge.as_list()[1].as_string())) merges.push_back(merge);
  }
  tree["model"]["vocab"] = std::move(vocab);
  tree["model"]["merges"] = std::move(merges);
}

// The whole tokenizer.json of a variant of variants.json.
inline Json variant_tree(const Json& variant) {
  Json tree = variant.at("tree");
  add_vocabulary(tree, variant.at("drop").as_string());
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
