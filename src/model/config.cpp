// ModelConfig from config.json and back.
#include <fmt/format.h>

#include <grpo/model.h>

#include "model/config_fields.h"
#include "model/families.h"
#include "model/rope.h"
#include "model/stored_tensor.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::int64_t kMaxLayers = 4096;

// An id, or nothing for null and -1 (which some files write for "none").
std::optional<std::int32_t> token_id(const Json& json, std::string_view key) {
  const std::int64_t id = config_integer_or(json, key, -1, {-1, kMaxConfigInteger});
  if (id < 0) return std::nullopt;
  return static_cast<std::int32_t>(id);
}

const Family& family_of(const Json& json) {
  const Json* type = config_value(json, "model_type");
  if (!type || !type->is_string()) refuse_field(json, "model_type", "a model family", type ? *type : Json());
  const Family& family = family_named(type->as_string());
  const Json* architectures = config_value(json, "architectures");
  if (!architectures) return family;
  if (!architectures->is_list()) refuse_field(*architectures, "architectures", "a list", *architectures);
  for (const Json& name : architectures->as_list()) {
    if (name == Json(family.architecture)) return family;
  }
  refuse_field(*architectures, "architectures", fmt::format("[\"{}\"]", family.architecture), *architectures);
}

void check_shapes(const Json& json, const ModelConfig& c) {
  const auto multiple_of_16 = [&json](const std::string& key, std::int64_t value) {
    if (value < 16 || value % 16 != 0) refuse_field(json, key, "a multiple of 16 (the kernels' panel width)", value);
  };
  multiple_of_16("hidden_size", c.hidden_size);
  multiple_of_16(config_value(json, "head_dim") ? "head_dim" : "head_dim (hidden_size / num_attention_heads)",
                 c.head_dim);
  if (c.num_heads % c.num_kv_heads != 0) {
    refuse_field(json, "num_key_value_heads", fmt::format("a divisor of num_attention_heads ({})", c.num_heads),
                 c.num_kv_heads);
  }
  if (c.num_heads > kMaxConfigInteger / c.head_dim) {
    refuse_field(json, "num_attention_heads", "fewer or smaller heads", c.num_heads);
  }
}

// Activation, precision and attention patterns that no family here has.
void check_common_settings(const Json& json) {
  require_setting(json, "hidden_act", "silu");
  require_setting(json, "quantization_config", nullptr);
  require_setting(json, "partial_rotary_factor", 1.0);
  require_setting(json, "attention_dropout", 0.0);
  const Json* layers = config_value(json, "layer_types");
  if (!layers) return;
  for (const Json& type : layers->is_list() ? layers->as_list() : Json::List{*layers}) {
    if (!(type == Json("full_attention"))) refuse_field(*layers, "layer_types", "full_attention everywhere", type);
  }
}

}  // namespace

std::vector<std::int32_t> stop_ids(const Json& json) {
  const Json* value = config_value(json, "eos_token_id");
  std::vector<std::int32_t> ids;
  if (!value) return ids;
  const Json::List one{*value};
  for (const Json& item : value->is_list() ? value->as_list() : one) {
    if (!item.is_int() || item.as_int() < 0 || item.as_int() > kMaxConfigInteger) {
      refuse_field(item, "eos_token_id", "a token id or a list of them", *value);
    }
    ids.push_back(static_cast<std::int32_t>(item.as_int()));
  }
  return ids;
}

ModelConfig parse_model_config(const Json& json) {
  GRPO_CHECK(json.is_object(), "model config: expected an object, got " + json.dump().substr(0, 100));
  const Family& family = family_of(json);
  check_common_settings(json);

  ModelConfig c;
  c.family = family.model_type;
  c.vocab_size = config_integer(json, "vocab_size");
  c.hidden_size = config_integer(json, "hidden_size");
  c.intermediate_size = config_integer(json, "intermediate_size");
  c.num_layers = config_integer(json, "num_hidden_layers", {1, kMaxLayers});
  c.num_heads = config_integer(json, "num_attention_heads");
  const FamilyDefaults& defaults = family.defaults;
  const bool says_kv_heads = json.find("num_key_value_heads") != nullptr;  // null: as many as query heads
  c.num_kv_heads = config_integer_or(json, "num_key_value_heads",
                                     says_kv_heads || defaults.num_kv_heads == 0 ? c.num_heads : defaults.num_kv_heads);
  c.head_dim =
      config_integer_or(json, "head_dim", defaults.head_dim == 0 ? c.hidden_size / c.num_heads : defaults.head_dim);
  c.max_positions = config_integer_or(json, "max_position_embeddings", defaults.max_positions);
  c.norm_eps = config_positive_or(json, "rms_norm_eps", 1e-6);
  c.tie_embeddings = config_flag_or(json, "tie_word_embeddings", false);
  c.initializer_range = config_positive_or(json, "initializer_range", 0.02);
  c.bos_id = token_id(json, "bos_token_id");
  c.eos_ids = stop_ids(json);
  c.pad_id = token_id(json, "pad_token_id");
  check_shapes(json, c);
  read_rope(json, c);
  family.read_config(json, c);
  return c;
}

Json to_config_json(const ModelConfig& c) {
  const auto id = [](const std::optional<std::int32_t>& value) { return value ? Json(*value) : Json(); };
  const Json eos = c.eos_ids.empty() ? Json() : c.eos_ids.size() == 1 ? Json(c.eos_ids[0]) : Json(c.eos_ids);
  Json json = Json::Object{
      {"architectures", Json::List{family_named(c.family).architecture}},
      {"attention_dropout", 0.0},
      {"bos_token_id", id(c.bos_id)},
      {"eos_token_id", eos},
      {"head_dim", c.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", c.hidden_size},
      {"initializer_range", c.initializer_range},
      {"intermediate_size", c.intermediate_size},
      {"max_position_embeddings", c.max_positions},
      {"model_type", c.family},
      {"num_attention_heads", c.num_heads},
      {"num_hidden_layers", c.num_layers},
      {"num_key_value_heads", c.num_kv_heads},
      {"pad_token_id", id(c.pad_id)},
      {"rms_norm_eps", c.norm_eps},
      {"tie_word_embeddings", c.tie_embeddings},
      {"vocab_size", c.vocab_size},
  };
  write_rope(c, json);
  family_named(c.family).write_config(c, json);
  return json;
}

std::vector<WeightShape> weight_shapes(const ModelConfig& config) {
  std::vector<WeightShape> shapes;
  for (const WeightSpec& spec : family_named(config.family).weights(config)) shapes.push_back({spec.name, spec.shape});
  return shapes;
}

std::int64_t num_parameters(const ModelConfig& config) {
  std::int64_t total = 0;
  for (const WeightSpec& spec : family_named(config.family).weights(config)) {
    const std::int64_t count = checked_elements(spec.shape);
    GRPO_CHECK(count >= 0 && !__builtin_add_overflow(total, count, &total),
               "num_parameters: the model's sizes pass 2^62 elements");
  }
  return total;
}

void check_vocabulary(const ModelConfig& config, const Tokenizer& tokenizer) {
  GRPO_CHECK(
      tokenizer.vocab_size() <= config.vocab_size,
      fmt::format("the model's vocabulary is smaller than the tokenizer's: expected vocab_size of at least {}, got {}",
                  tokenizer.vocab_size(), config.vocab_size));
}

}  // namespace grpo::inline GRPO_ABI
