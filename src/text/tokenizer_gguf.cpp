#include "text/tokenizer_gguf.h"
#include "text/tokenizer_utf8.h"

#include <unordered_set>

#include "base/utf8.h"

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {
namespace {

enum TokenType : std::int64_t { kControl = 3, kUserDefined = 4, kUnused = 5 };  // numbers of the file format

std::string key_of(std::string_view name) { return "tokenizer.ggml." + std::string(name); }

// The tokens, and what each is for; checked.
struct Tokens {
  const std::vector<std::string>& texts;
  std::vector<std::int64_t> types;

  explicit Tokens(const GgufFile& file) : texts(file.strings_at(key_of("tokens"))) {
    if (file.has(key_of("token_type"))) types = file.ints_at(key_of("token_type"));
    types.resize(types.empty() ? texts.size() : types.size(), 1);
    const std::string where = file.source() + ": metadata \"" + key_of("tokens") + "\"";
    GRPO_CHECK(types.size() == texts.size(), where + ": " + std::to_string(texts.size()) + " tokens, but " +
                                                 std::to_string(types.size()) + " token types");
    std::unordered_set<std::string_view> seen;
    for (std::size_t id = 0; id < texts.size(); ++id) {
      GRPO_CHECK(find_invalid_utf8(texts[id]) == texts[id].size(),
                 where + ": token " + std::to_string(id) + " is no valid UTF-8");
      if (types[id] == kUnused) continue;
      GRPO_CHECK(seen.insert(texts[id]).second,
                 where + ": token " + std::to_string(id) + " (" + shown(texts[id]) + ") occurs twice");
    }
  }

  Json vocabulary() const {
    Json::Object out;
    for (std::size_t id = 0; id < texts.size(); ++id) {
      if (types[id] != kUnused) out.emplace_back(texts[id], id);
    }
    return Json(std::move(out));
  }

  Json added() const {
    Json::List out;
    for (std::size_t id = 0; id < texts.size(); ++id) {
      if (types[id] != kControl && types[id] != kUserDefined) continue;
      out.push_back(Json::Object{{"id", id},
                                 {"content", texts[id]},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", types[id] == kControl}});
    }
    return Json(std::move(out));
  }

  // The text of a token that metadata `name` gives by id; null when it does not.
  Json named(const GgufFile& file, std::string_view name) const {
    if (!file.has(key_of(name))) return {};
    const std::int64_t id = file.int_at(key_of(name));
    const bool good =
        id >= 0 && id < static_cast<std::int64_t>(texts.size()) && types[static_cast<std::size_t>(id)] != kUnused;
    GRPO_CHECK(good, file.source() + ": metadata \"" + key_of(name) + "\": id " + std::to_string(id) +
                         " is not in the vocabulary");
    return Json(texts[static_cast<std::size_t>(id)]);
  }
};

Json sequence_piece(const char* id, int type) {
  return Json(Json::Object{{"Sequence", Json(Json::Object{{"id", id}, {"type_id", type}})}});
}

Json token_piece(const Json& token, int type) {
  return Json(Json::Object{{"SpecialToken", Json(Json::Object{{"id", token}, {"type_id", type}})}});
}

// A TemplateProcessing that puts bos before and eos behind; null when there is neither.
Json post_processor(const GgufFile& file, const Tokens& tokens, bool add_bos_by_default) {
  auto wanted = [&](const char* name, bool fallback) {
    return file.has(key_of(name)) ? file.bool_at(key_of(name)) : fallback;
  };
  Json bos;
  Json eos;
  if (wanted("add_bos_token", add_bos_by_default)) bos = tokens.named(file, "bos_token_id");
  if (wanted("add_eos_token", false)) eos = tokens.named(file, "eos_token_id");
  if (bos.is_null() && eos.is_null()) return {};
  Json special = Json::Object{};
  Json single = Json::List{};
  Json pair = Json::List{};
  auto add = [&](const Json& token, const char* id_key) {
    if (token.is_null()) return;
    special[token.as_string()] = Json::Object{{"id", token},
                                              {"ids", Json(Json::List{Json(file.int_at(key_of(id_key)))})},
                                              {"tokens", Json(Json::List{token})}};
  };
  for (const auto& [name, type] : {std::pair{"A", 0}, std::pair{"B", 1}}) {
    Json::List part;
    if (!bos.is_null()) part.push_back(token_piece(bos, type));
    part.push_back(sequence_piece(name, type));
    if (!eos.is_null()) part.push_back(token_piece(eos, type));
    for (const Json& piece : part) pair.push_back(piece);
    if (type == 0) single = std::move(part);
  }
  add(bos, "bos_token_id");
  add(eos, "eos_token_id");
  return Json(
      Json::Object{{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}});
}

Json config_of(const GgufFile& file, const Tokens& tokens) {
  Json config = Json::Object{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const std::pair<const char*, const char*> names[] = {{"bos_token", "bos_token_id"},
                                                       {"eos_token", "eos_token_id"},
                                                       {"pad_token", "padding_token_id"},
                                                       {"unk_token", "unknown_token_id"}};
  for (const auto& [name, id_key] : names) {
    Json token = tokens.named(file, id_key);
    if (!token.is_null()) config[name] = std::move(token);
  }
  if (file.has("general.architecture")) {
    const std::string context = file.string_at("general.architecture") + ".context_length";
    if (file.has(context)) config["model_max_length"] = file.int_at(context);
  }
  if (file.has("tokenizer.chat_template")) {
    const std::string& source = file.string_at("tokenizer.chat_template");
    GRPO_CHECK(find_invalid_utf8(source) == source.size(),
               file.source() + ": metadata \"tokenizer.chat_template\" is no valid UTF-8");
    config["chat_template"] = source;
  }
  return config;
}

}  // namespace

GgufTokenizer tokenizer_from_gguf(const GgufFile& file) {
  const std::string& model = file.string_at(key_of("model"));
  GRPO_CHECK(model == "gpt2", file.source() + ": metadata \"" + key_of("model") +
                                  "\": expected gpt2 (byte-level BPE), got " + shown(model) + " (not supported)");
  const GgufWordRules rules = gguf_word_rules(file.string_at(key_of("pre")), file.source());
  const Tokens tokens(file);
  Json merges = Json::List{};
  for (const std::string& merge : file.strings_at(key_of("merges"))) {
    GRPO_CHECK(find_invalid_utf8(merge) == merge.size(),
               file.source() + ": metadata \"" + key_of("merges") + "\" holds invalid UTF-8");
    merges.push_back(merge);
  }
  const Json byte_level =
      Json::Object{{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  const Json tree = Json::Object{{"version", "1.0"},
                                 {"truncation", nullptr},
                                 {"padding", nullptr},
                                 {"added_tokens", tokens.added()},
                                 {"normalizer", rules.normalizer},
                                 {"pre_tokenizer", rules.pre_tokenizer},
                                 {"post_processor", post_processor(file, tokens, rules.add_bos)},
                                 {"decoder", byte_level},
                                 {"model", Json(Json::Object{{"type", "BPE"},
                                                             {"dropout", nullptr},
                                                             {"unk_token", nullptr},
                                                             {"continuing_subword_prefix", nullptr},
                                                             {"end_of_word_suffix", nullptr},
                                                             {"fuse_unk", false},
                                                             {"byte_fallback", false},
                                                             {"ignore_merges", rules.ignore_merges},
                                                             {"vocab", tokens.vocabulary()},
                                                             {"merges", std::move(merges)}})}};
  return {tree.dump(), config_of(file, tokens).dump(2)};
}

}  // namespace grpo::inline GRPO_ABI
