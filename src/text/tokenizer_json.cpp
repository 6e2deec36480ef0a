// tokenizer.json: the model (vocabulary and merges) and the added tokens.
#include <algorithm>

#include "text/pretokenize_unicode.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_utf8.h"

namespace grpo::inline GRPO_ABI {

void refuse(const Json& node, std::string_view path, std::string_view message) {
  throw Error(node.where() + ": " + std::string(path) + ": " + std::string(message));
}

void check_fields(const Json& object, std::string_view path, std::initializer_list<std::string_view> known) {
  if (!object.is_object()) refuse(object, path, "expected an object, got " + shown(object.dump()));
  for (const auto& [key, value] : object.as_object()) {
    bool found = value.is_null();
    for (const std::string_view name : known) found = found || key == name;
    if (!found) refuse(value, path, "unknown field " + shown(key));
  }
}

bool read_flag(const Json& object, std::string_view key, bool fallback) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value->as_bool() : fallback;
}

namespace {

// Null for what is absent.
const Json& field(const Json& object, std::string_view key) {
  static const Json null;
  const Json* value = object.find(key);
  return value ? *value : null;
}

// A part that must be there; the message names it when it is not.
const Json& required(const Json& object, std::string_view key, std::string_view path) {
  const Json* value = object.find(key);
  if (!value || value->is_null()) refuse(object, path, "missing field \"" + std::string(key) + "\"");
  return *value;
}

std::int32_t read_id(const Json& value, std::string_view path) {
  const std::int64_t id = value.as_int();
  if (id < 0 || id > Vocabulary::kMaxId) {
    refuse(value, path, "expected an id of 0 to " + std::to_string(Vocabulary::kMaxId) + ", got " + std::to_string(id));
  }
  return static_cast<std::int32_t>(id);
}

void read_vocabulary(const Json& node, Vocabulary& vocabulary) {
  for (const auto& [text, value] : node.as_object()) {
    const std::int32_t id = read_id(value, "model.vocab");
    if (!vocabulary.add(text, id, text)) refuse(value, "model.vocab", "id " + std::to_string(id) + " is given twice");
  }
}

// The two tokens of a merge: ["a", "b"] or "a b".
std::pair<std::string, std::string> merge_pair(const Json& node) {
  if (node.is_list()) {
    if (node.size() != 2) refuse(node, "model.merges", "expected a pair, got " + shown(node.dump()));
    return {node.as_list()[0].as_string(), node.as_list()[1].as_string()};
  }
  const std::string& text = node.as_string();
  const std::size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    refuse(node, "model.merges", "expected two tokens with a space between, got " + shown(text));
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

std::vector<Bpe::Merge> read_merges(const Json& node, const Vocabulary& vocabulary) {
  std::vector<Bpe::Merge> merges;
  for (const Json& item : node.as_list()) {
    if (item.is_string() && item.as_string().rfind("#version", 0) == 0) continue;  // the head of a merges.txt
    const auto [left, right] = merge_pair(item);
    auto id_of = [&](const std::string& text) {
      const std::int32_t id = vocabulary.find(text);
      if (id < 0) refuse(item, "model.merges", "token " + shown(text) + " is not in model.vocab");
      return id;
    };
    merges.push_back({id_of(left), id_of(right), id_of(left + right)});
  }
  return merges;
}

Bpe read_bpe(const Json& model, Vocabulary& vocabulary) {
  check_fields(model, "model",
               {"type", "vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                "fuse_unk", "byte_fallback", "ignore_merges"});
  const Json& type = field(model, "type");
  if (!type.is_null() && type.as_string() != "BPE") {
    refuse(type, "model.type", "expected BPE, got " + shown(type.as_string()) + " (not supported)");
  }
  if (read_flag(model, "byte_fallback", false)) refuse(model, "model.byte_fallback", "true is not supported");
  const Json& dropout = field(model, "dropout");
  if (!dropout.is_null() && dropout.as_double() != 0) refuse(dropout, "model.dropout", "other than 0 is not supported");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& value = field(model, affix);
    if (!value.is_null() && !value.as_string().empty()) {
      refuse(value, std::string("model.") + affix, "other than \"\" is not supported");
    }
  }
  read_vocabulary(required(model, "vocab", "model"), vocabulary);
  Bpe::Options options;
  options.merges = read_merges(required(model, "merges", "model"), vocabulary);
  options.fuse_unk = read_flag(model, "fuse_unk", false);
  for (unsigned byte = 0; byte < 256; ++byte) {
    options.byte_ids[byte] = vocabulary.find(to_byte_alphabet(std::string(1, static_cast<char>(byte))));
  }
  const Json& unk = field(model, "unk_token");
  if (!unk.is_null()) {
    options.unk_id = vocabulary.find(unk.as_string());
    if (options.unk_id < 0) refuse(unk, "model.unk_token", "is not in model.vocab");
  }
  if (read_flag(model, "ignore_merges", false)) {
    for (const auto& [text, id] : vocabulary.ids()) {
      if (auto bytes = from_byte_alphabet(text)) options.whole_words.emplace(std::move(*bytes), id);
    }
  }
  return Bpe(std::move(options));
}

AddedToken read_added_token(const Json& node) {
  check_fields(node, "added_tokens", {"id", "content", "special", "lstrip", "rstrip", "single_word", "normalized"});
  AddedToken token;
  token.content = required(node, "content", "added_tokens").as_string();
  if (token.content.empty()) refuse(node, "added_tokens", "a token without content");
  token.id = read_id(required(node, "id", "added_tokens"), "added_tokens.id");
  token.special = read_flag(node, "special", false);
  token.lstrip = read_flag(node, "lstrip", false);
  token.rstrip = read_flag(node, "rstrip", false);
  token.single_word = read_flag(node, "single_word", false);
  token.normalized = read_flag(node, "normalized", !token.special);
  return token;
}

// The library gives ids by its own rule and only warns when the file says otherwise; here that is an Error.
void read_added_tokens(const Json& node, TokenizerModel& model) {
  const std::int32_t num_model_tokens = model.vocabulary.count();
  std::int32_t next = num_model_tokens;
  std::vector<AddedToken> raw[2];  // not special, special
  std::vector<AddedToken> normalized[2];
  std::unordered_map<std::string, int> seen;
  for (const Json& item : node.as_list()) {
    AddedToken token = read_added_token(item);
    const std::string given = token.content;
    const std::string name = shown(given);
    if (token.normalized && model.normalize_nfc) token.content = nfc(given);
    if (!seen.emplace(token.content, 0).second) refuse(item, "added_tokens", name + " is given twice");
    const std::int32_t in_model = model.vocabulary.find(given);
    const std::int32_t expected = in_model >= 0 ? in_model : next;
    if (token.id != expected) {
      refuse(item, "added_tokens",
             name + ": expected id " + std::to_string(expected) + " (what the tokenizers library gives it), got " +
                 std::to_string(token.id));
    }
    if (in_model < 0 && !model.vocabulary.add(given, token.id, token.content)) {
      refuse(item, "added_tokens", name + ": id " + std::to_string(token.id) + " is taken by a token of model.vocab");
    }
    next = std::max(next, token.id + 1);
    if (token.special) model.vocabulary.mark_special(token.id);
    (token.normalized ? normalized : raw)[token.special].push_back(std::move(token));
  }
  for (auto* tokens : {raw, normalized}) tokens[1].insert(tokens[1].end(), tokens[0].begin(), tokens[0].end());
  model.raw_tokens = AddedTokens(std::move(raw[1]));
  model.normalized_tokens = AddedTokens(std::move(normalized[1]));
}

void check_decoder(const Json& tree) {
  const Json* decoder = &field(tree, "decoder");
  if (decoder->is_null()) refuse(tree, "decoder", "expected ByteLevel, got null");
  const std::string& type = required(*decoder, "type", "decoder").as_string();
  if (type == "Sequence") {
    const Json& list = required(*decoder, "decoders", "decoder");
    if (list.as_list().size() != 1) refuse(list, "decoder", "expected ByteLevel alone");
    decoder = &list.as_list()[0];
  }
  const std::string& inner = required(*decoder, "type", "decoder").as_string();
  if (inner != "ByteLevel") refuse(*decoder, "decoder.type", "expected ByteLevel, got " + shown(inner));
}

}  // namespace

TokenizerModel read_tokenizer_json(std::string_view text, const std::string& source) {
  const Json tree = parse_json(text, {.source = source, .max_depth = 32});
  // Truncation and padding are the caller's business, as in transformers.
  check_fields(tree, "tokenizer.json",
               {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                "decoder", "model"});
  const Json& version = field(tree, "version");
  if (!version.is_null() && version.as_string() != "1.0") refuse(version, "version", "expected \"1.0\"");
  TokenizerModel model;
  model.bpe = read_bpe(required(tree, "model", "tokenizer.json"), model.vocabulary);
  model.normalize_nfc = read_normalizer(field(tree, "normalizer"));
  model.pretokenizer = read_pretokenizer(required(tree, "pre_tokenizer", "tokenizer.json"));
  check_decoder(tree);
  const Json& added = field(tree, "added_tokens");
  if (!added.is_null()) read_added_tokens(added, model);
  model.around = read_post_processor(field(tree, "post_processor"), model.vocabulary);
  return model;
}

}  // namespace grpo::inline GRPO_ABI
