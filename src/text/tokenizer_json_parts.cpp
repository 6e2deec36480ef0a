// tokenizer.json: normalizer, pre_tokenizer, post_processor.
#include "text/tokenizer_json.h"
#include "text/tokenizer_utf8.h"

#include <algorithm>

namespace grpo::inline GRPO_ABI {
namespace {

const std::string& type_of(const Json& node, std::string_view path) {
  const Json* type = node.find("type");
  if (!type || !type->is_string()) refuse(node, path, "expected an object with a \"type\"");
  return type->as_string();
}

const Json& list_of(const Json& node, std::string_view key, std::string_view path) {
  const Json* list = node.find(key);
  if (!list || !list->is_list()) refuse(node, path, "expected a list \"" + std::string(key) + "\"");
  return *list;
}

SplitBehavior read_behavior(const Json& node) {
  const Json* value = node.find("behavior");
  if (!value) refuse(node, "pre_tokenizer.behavior", "is missing");
  const std::string& name = value->as_string();
  if (name == "Removed") return SplitBehavior::Removed;
  if (name == "Isolated") return SplitBehavior::Isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::MergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::MergedWithNext;
  if (name == "Contiguous") return SplitBehavior::Contiguous;
  refuse(*value, "pre_tokenizer.behavior", "unknown behavior " + shown(name));
}

Pretokenizer::Split read_split(const Json& node) {
  check_fields(node, "pre_tokenizer", {"type", "pattern", "behavior", "invert"});
  const Json* pattern = node.find("pattern");
  if (!pattern || !pattern->is_object() || pattern->size() != 1) {
    refuse(node, "pre_tokenizer.pattern", "expected {\"Regex\": ...} or {\"String\": ...}");
  }
  const auto& [kind, value] = pattern->as_object()[0];
  const SplitBehavior behavior = read_behavior(node);
  const bool invert = read_flag(node, "invert", false);
  if (kind == "Regex") {
    return {Regex(value.as_string(), value.where() + ": pre_tokenizer.pattern"), behavior, invert};
  }
  if (kind != "String") refuse(value, "pre_tokenizer.pattern", "unknown kind " + shown(kind));
  if (value.as_string().empty()) refuse(value, "pre_tokenizer.pattern", "an empty String");
  return {value.as_string(), behavior, invert};
}

// Sequences may hold sequences: a flat list, in order.
void flatten(const Json& node, std::string_view path, std::string_view key, std::vector<const Json*>& out) {
  if (type_of(node, path) != "Sequence") {
    out.push_back(&node);
    return;
  }
  check_fields(node, path, {"type", key});
  for (const Json& item : list_of(node, key, path).as_list()) flatten(item, path, key, out);
}

// Appends the ids of a TemplateProcessing's piece.
void read_template_piece(const Json& piece, const Json& tokens, const Vocabulary& vocabulary,
                         std::vector<std::int32_t>& around) {
  constexpr std::string_view kPath = "post_processor.single";
  if (const Json* sequence = piece.find("Sequence")) {
    if (sequence->at("id").as_string() != "A") refuse(*sequence, kPath, "expected sequence A");
    around.push_back(TokenizerModel::kText);
    return;
  }
  const Json* special = piece.find("SpecialToken");
  if (!special) refuse(piece, kPath, "expected Sequence or SpecialToken");
  const Json* token = tokens.find(special->at("id").as_string());
  if (!token) refuse(*special, kPath, "a token that post_processor.special_tokens does not have");
  for (const Json& id : list_of(*token, "ids", "post_processor.special_tokens").as_list()) {
    const std::int64_t value = id.as_int();
    if (value < 0 || value > Vocabulary::kMaxId || !vocabulary.contains(static_cast<std::int32_t>(value))) {
      refuse(id, "post_processor.special_tokens", "id " + std::to_string(value) + " is not in the vocabulary");
    }
    around.push_back(static_cast<std::int32_t>(value));
  }
}

}  // namespace

bool read_normalizer(const Json& node) {
  if (node.is_null()) return false;
  std::vector<const Json*> steps;
  flatten(node, "normalizer", "normalizers", steps);
  for (const Json* step : steps) {
    const std::string& type = type_of(*step, "normalizer");
    if (type != "NFC") refuse(*step, "normalizer.type", shown(type) + " is not supported");
  }
  return !steps.empty();
}

Pretokenizer read_pretokenizer(const Json& node) {
  constexpr std::string_view kPath = "pre_tokenizer";
  std::vector<const Json*> steps;
  flatten(node, kPath, "pretokenizers", steps);
  Pretokenizer out;
  for (const Json* step : steps) {
    const std::string& type = type_of(*step, kPath);
    const bool is_last = step == steps.back();
    if (is_last != (type == "ByteLevel")) {
      refuse(*step, kPath, "expected ByteLevel last and only there, got " + shown(type));
    }
    if (type == "Split") {
      out.add(read_split(*step));
    } else if (type == "Digits") {
      check_fields(*step, kPath, {"type", "individual_digits"});
      out.add(Pretokenizer::Digits{read_flag(*step, "individual_digits", false)});
    } else if (type == "ByteLevel") {
      check_fields(*step, kPath, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
      out.set({.add_prefix_space = read_flag(*step, "add_prefix_space", true),
               .use_regex = read_flag(*step, "use_regex", true)});
    } else {
      refuse(*step, "pre_tokenizer.type", shown(type) + " is not supported");
    }
  }
  if (steps.empty()) refuse(node, kPath, "expected ByteLevel, got an empty sequence");
  return out;
}

std::vector<std::int32_t> read_post_processor(const Json& node, const Vocabulary& vocabulary) {
  constexpr std::string_view kPath = "post_processor";
  std::vector<std::int32_t> around = {TokenizerModel::kText};
  if (node.is_null()) return around;
  std::vector<const Json*> steps;
  flatten(node, kPath, "processors", steps);
  bool has_template = false;
  for (const Json* step : steps) {
    const std::string& type = type_of(*step, kPath);
    if (type == "ByteLevel") continue;  // moves offsets only
    if (type != "TemplateProcessing") {
      refuse(*step, "post_processor.type", shown(type) + " is not supported");
    }
    if (has_template) refuse(*step, kPath, "a second TemplateProcessing is not supported");
    has_template = true;
    check_fields(*step, kPath, {"type", "single", "pair", "special_tokens"});
    const Json* tokens = step->find("special_tokens");
    if (!tokens || !tokens->is_object()) refuse(*step, kPath, "expected an object \"special_tokens\"");
    around.clear();
    for (const Json& piece : list_of(*step, "single", kPath).as_list()) {
      read_template_piece(piece, *tokens, vocabulary, around);
    }
  }
  if (std::count(around.begin(), around.end(), TokenizerModel::kText) != 1) {
    refuse(node, "post_processor.single", "expected sequence A once");
  }
  return around;
}

}  // namespace grpo::inline GRPO_ABI
