#include "text/tokenizer_config.h"

#include "text/tokenizer_json.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                  "pad_token", "cls_token", "mask_token"};

// A token is its text, or an AddedToken object around it.
const std::string& token_text(const Json& value, std::string_view name) {
  if (value.is_string()) return value.as_string();
  const Json* content = value.find("content");
  if (!content || !content->is_string()) refuse(value, name, "expected a string or an object with \"content\"");
  return content->as_string();
}

// One template, or a list of named ones.
std::string read_chat_template(const Json& value) {
  if (value.is_string()) return value.as_string();
  if (!value.is_list()) refuse(value, "chat_template", "expected a string or a list of named templates");
  for (const Json& item : value.as_list()) {
    if (item.at("name").as_string() == "default") return item.at("template").as_string();
  }
  return {};
}

}  // namespace

TokenizerConfig read_tokenizer_config(std::string_view text, const std::string& source) {
  const Json tree = parse_json(text, {.source = source});
  if (!tree.is_object()) refuse(tree, "tokenizer_config.json", "expected an object");
  TokenizerConfig config;
  for (const char* name : kNames) {
    const Json* value = tree.find(name);
    if (value && !value->is_null()) config.tokens[name] = token_text(*value, name);
  }
  const Json* chat_template = tree.find("chat_template");
  if (chat_template && !chat_template->is_null()) config.chat_template = read_chat_template(*chat_template);
  return config;
}

}  // namespace grpo::inline GRPO_ABI
