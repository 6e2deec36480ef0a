// A tokenizer.json as tokenizer.ggml.* metadata.
#include <algorithm>
#include <charconv>

#include <grpo/text.h>

#include "base/utf8.h"
#include "text/gguf_write.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

enum TokenType : std::int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };  // numbers of the format

constexpr std::string_view kWordRules[] = {"smollm",       "qwen2", "llama-bpe", "deepseek-v3",
                                           "deepseek-llm", "gpt-2", "default"};

const Json& field(const Json& object, std::string_view key) {
  static const Json null;
  const Json* value = object.find(key);
  return value ? *value : null;
}

// \x{4e00}, \r and \n as the characters that they stand for.
std::string spelled_out(const std::string& regex) {
  std::string text;
  for (std::size_t i = 0; i < regex.size();) {
    if (regex[i] != '\\') {
      text += regex[i++];
    } else if (const std::size_t end = regex.find('}', i);
               regex.compare(i, 3, "\\x{") == 0 && end != std::string::npos) {
      std::uint32_t code = 0;
      std::from_chars(regex.data() + i + 3, regex.data() + end, code, 16);
      append_utf8(text, code);
      i = end + 1;
    } else {
      const std::string escape = regex.substr(i, 2);
      text += escape == "\\r" ? "\r" : escape == "\\n" ? "\n" : escape;
      i += 2;
    }
  }
  return text;
}

// What a pre_tokenizer does to the words, one step after another, whatever the spelling.
void append_steps(const Json& node, Json::List& steps) {
  const Json& type = field(node, "type");
  if (type == Json("Sequence")) {
    for (const Json& step : node.at("pretokenizers").as_list()) append_steps(step, steps);
  } else if (type == Json("ByteLevel")) {  // trim_offsets does not touch ids
    steps.push_back(Json::List{type, read_flag(node, "add_prefix_space", true), read_flag(node, "use_regex", true)});
  } else if (type == Json("Digits")) {
    steps.push_back(Json::List{type, read_flag(node, "individual_digits", false)});
  } else {
    const Json* regex = field(node, "pattern").find("Regex");
    const Json pattern = regex ? Json(spelled_out(regex->as_string())) : field(node, "pattern");
    steps.push_back(Json::List{type, pattern, field(node, "behavior"), read_flag(node, "invert", false)});
  }
}

Json steps_of(const Json& pre_tokenizer) {
  Json::List steps;
  append_steps(pre_tokenizer, steps);
  return steps;
}

// The name of the word rules. Normalisation does not count: llama.cpp knows none.
std::string_view word_rules_name(const Json& tree) {
  const Json steps = steps_of(tree.at("pre_tokenizer"));
  const bool ignore_merges = read_flag(tree.at("model"), "ignore_merges", false);
  std::string names;
  for (const std::string_view name : kWordRules) {
    const GgufWordRules rules = gguf_word_rules(name, "");
    if (rules.ignore_merges == ignore_merges && steps_of(rules.pre_tokenizer) == steps) return name;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  throw Error("tokenizer.json: pre_tokenizer and ignore_merges: expected the rules of " + names +
              " (what GGUF has names for), got " + shown(tree.at("pre_tokenizer").dump()));
}

struct TokenTable {
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;

  explicit TokenTable(std::int64_t vocab_size) {
    for (std::int64_t id = 0; id < vocab_size; ++id) texts.push_back("[PAD" + std::to_string(id) + "]");
    types.assign(texts.size(), kUnused);
  }
  void set(std::int64_t id, const std::string& text, TokenType type) {
    texts.at(static_cast<std::size_t>(id)) = text;
    types.at(static_cast<std::size_t>(id)) = type;
  }
};

std::string merge_text(const Json& merge) {
  if (merge.is_string()) return merge.as_string();
  return merge.as_list().at(0).as_string() + " " + merge.as_list().at(1).as_string();
}

// The ids that the post-processor adds must be bos before and eos behind; nothing else can be written.
void write_added_ids(const Tokenizer& tokenizer, GgufMetadata& metadata) {
  const std::vector<std::int32_t> added = tokenizer.encode("", {.add_special = true});
  const std::optional<std::int32_t> bos = tokenizer.bos_id(), eos = tokenizer.eos_id();
  for (const bool add_bos : {false, true}) {
    for (const bool add_eos : {false, true}) {
      std::vector<std::int32_t> ids;
      if (add_bos) ids.push_back(bos.value_or(-1));
      if (add_eos) ids.push_back(eos.value_or(-1));
      if (ids != added) continue;
      metadata.flag("tokenizer.ggml.add_bos_token", add_bos);
      metadata.flag("tokenizer.ggml.add_eos_token", add_eos);
      return;
    }
  }
  throw Error(
      "tokenizer.json: post_processor: expected one that adds bos_token, eos_token, both or nothing (what GGUF "
      "can say), got ids " +
      Json(added).dump());
}

}  // namespace

void write_gguf_tokenizer(const Tokenizer& tokenizer, std::int64_t vocab_size, GgufMetadata& metadata) {
  GRPO_CHECK(tokenizer.vocab_size() <= vocab_size, "write_gguf_tokenizer: more tokens than the model has rows for");
  const std::vector<Tokenizer::File> files = tokenizer.files();
  const auto file = std::find_if(files.begin(), files.end(), [](const auto& f) { return f.name == "tokenizer.json"; });
  GRPO_ASSERT(file != files.end());
  const Json tree = parse_json(file->bytes, {.source = file->name, .max_depth = 32});
  const Json& model = tree.at("model");

  TokenTable table(vocab_size);
  for (const auto& [text, id] : model.at("vocab").as_object()) table.set(id.as_int(), text, kNormal);
  if (const Json& added = field(tree, "added_tokens"); added.is_list()) {
    for (const Json& token : added.as_list()) {
      table.set(token.at("id").as_int(), token.at("content").as_string(),
                read_flag(token, "special", false) ? kControl : kUserDefined);
    }
  }
  std::vector<std::string> merges;
  for (const Json& merge : model.at("merges").as_list()) {
    if (!merge.is_string() || merge.as_string().rfind("#version", 0) != 0) merges.push_back(merge_text(merge));
  }
  metadata.text("tokenizer.ggml.model", "gpt2");
  metadata.text("tokenizer.ggml.pre", word_rules_name(tree));
  metadata.texts("tokenizer.ggml.tokens", table.texts);
  metadata.integers("tokenizer.ggml.token_type", table.types);
  metadata.texts("tokenizer.ggml.merges", merges);
  write_added_ids(tokenizer, metadata);
  if (!tokenizer.chat_template().empty()) metadata.text("tokenizer.chat_template", tokenizer.chat_template());
}

}  // namespace grpo::inline GRPO_ABI
