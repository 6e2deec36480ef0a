// ModelConfig from config.json and back.
#include <limits>

#include <fmt/format.h>

#include <grpo/model.h>

#include "model/families.h"
#include "model/stored_tensor.h"

namespace grpo {
namespace {

constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max();  // so that products of two fit int64
constexpr std::int64_t kMaxLayers = 4096;

const Json* present(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value : nullptr;
}

[[noreturn]] void fail(const Json& at, std::string_view key, const std::string& expected, const Json& got) {
  const std::string where = at.where().empty() ? "model config" : at.where();
  throw Error(fmt::format("{}: {}: expected {}, got {}", where, key, expected, got.dump().substr(0, 100)));
}

struct Range {
  std::int64_t least = 1, most = kMaxSize;
};

std::int64_t integer(const Json& json, std::string_view key, Range range = {}) {
  const Json* value = present(json, key);
  if (!value) fail(json, key, fmt::format("an integer from {} to {}", range.least, range.most), nullptr);
  const bool fits = value->is_int() && value->as_int() >= range.least && value->as_int() <= range.most;
  if (!fits) fail(*value, key, fmt::format("an integer from {} to {}", range.least, range.most), *value);
  return value->as_int();
}

std::int64_t integer_or(const Json& json, std::string_view key, std::int64_t fallback, Range range = {}) {
  return present(json, key) ? integer(json, key, range) : fallback;
}

double positive_or(const Json& json, std::string_view key, double fallback) {
  const Json* value = present(json, key);
  if (!value) return fallback;
  if (!value->is_number() || !(value->as_double() > 0 && value->as_double() < 1e300)) {
    fail(*value, key, "a positive number", *value);
  }
  return value->as_double();
}

bool flag_or(const Json& json, std::string_view key, bool fallback) {
  const Json* value = present(json, key);
  if (!value) return fallback;
  if (!value->is_bool()) fail(*value, key, "true or false", *value);
  return value->as_bool();
}

// An id, or nothing for null and -1 (which some files write for "none").
std::optional<std::int32_t> token_id(const Json& json, std::string_view key) {
  const std::int64_t id = integer_or(json, key, -1, {-1, kMaxSize});
  if (id < 0) return std::nullopt;
  return static_cast<std::int32_t>(id);
}

// The frequency base, from either spelling. Only unscaled rotary positions are supported.
double rope_theta(const Json& json) {
  double theta = positive_or(json, "rope_theta", 10000);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* rope = present(json, key);
    if (!rope) continue;
    if (!rope->is_object()) fail(*rope, key, "an object", *rope);
    for (const char* type_key : {"rope_type", "type"}) {
      const Json* type = present(*rope, type_key);
      if (type && !(*type == Json("default"))) {
        fail(*type, fmt::format("{}.{}", key, type_key), "\"default\" (scaled rotary positions are not supported)",
             *type);
      }
    }
    require_setting(*rope, "partial_rotary_factor", 1.0);
    theta = positive_or(*rope, "rope_theta", theta);
  }
  return theta;
}

const Family& family_of(const Json& json) {
  const Json* type = present(json, "model_type");
  if (!type || !type->is_string()) fail(json, "model_type", "a model family", type ? *type : Json());
  const Family& family = family_named(type->as_string());
  const Json* architectures = present(json, "architectures");
  if (!architectures) return family;
  if (!architectures->is_list()) fail(*architectures, "architectures", "a list", *architectures);
  for (const Json& name : architectures->as_list()) {
    if (name == Json(family.architecture)) return family;
  }
  fail(*architectures, "architectures", fmt::format("[\"{}\"]", family.architecture), *architectures);
}

void check_shapes(const Json& json, const ModelConfig& c) {
  const auto multiple_of_16 = [&json](const char* key, std::int64_t value) {
    if (value < 16 || value % 16 != 0) fail(json, key, "a multiple of 16 (the kernels' panel width)", value);
  };
  multiple_of_16("hidden_size", c.hidden_size);
  multiple_of_16("head_dim", c.head_dim);
  if (c.num_heads % c.num_kv_heads != 0) {
    fail(json, "num_key_value_heads", fmt::format("a divisor of num_attention_heads ({})", c.num_heads),
         c.num_kv_heads);
  }
  if (c.num_heads > kMaxSize / c.head_dim) fail(json, "num_attention_heads", "fewer or smaller heads", c.num_heads);
}

}  // namespace

void require_setting(const Json& config_json, std::string_view key, const Json& expected) {
  const Json* value = present(config_json, key);
  if (!value) return;
  const bool same =
      value->is_number() && expected.is_number() ? value->as_double() == expected.as_double() : *value == expected;
  if (!same) fail(*value, key, expected.dump() + " (nothing else is supported)", *value);
}

std::vector<std::int32_t> stop_ids(const Json& json) {
  const Json* value = present(json, "eos_token_id");
  std::vector<std::int32_t> ids;
  if (!value) return ids;
  const Json::List one{*value};
  for (const Json& item : value->is_list() ? value->as_list() : one) {
    if (!item.is_int() || item.as_int() < 0 || item.as_int() > kMaxSize) {
      fail(item, "eos_token_id", "a token id or a list of them", *value);
    }
    ids.push_back(static_cast<std::int32_t>(item.as_int()));
  }
  return ids;
}

ModelConfig parse_model_config(const Json& json) {
  GRPO_CHECK(json.is_object(), "model config: expected an object, got " + json.dump().substr(0, 100));
  const Family& family = family_of(json);
  for (const char* key : {"quantization_config", "sliding_window"}) {
    const Json* value = present(json, key);
    if (value) fail(*value, key, "null (nothing else is supported)", *value);
  }
  require_setting(json, "partial_rotary_factor", 1.0);
  require_setting(json, "attention_dropout", 0.0);
  family.check_config(json);

  ModelConfig c;
  c.family = family.model_type;
  c.vocab_size = integer(json, "vocab_size");
  c.hidden_size = integer(json, "hidden_size");
  c.intermediate_size = integer(json, "intermediate_size");
  c.num_layers = integer(json, "num_hidden_layers", {1, kMaxLayers});
  c.num_heads = integer(json, "num_attention_heads");
  c.num_kv_heads = integer_or(json, "num_key_value_heads", c.num_heads);
  c.head_dim = integer_or(json, "head_dim", c.hidden_size / c.num_heads);
  c.max_positions = integer_or(json, "max_position_embeddings", 2048);
  c.norm_eps = positive_or(json, "rms_norm_eps", 1e-6);
  c.rope_theta = rope_theta(json);
  c.tie_embeddings = flag_or(json, "tie_word_embeddings", false);
  c.initializer_range = positive_or(json, "initializer_range", 0.02);
  c.bos_id = token_id(json, "bos_token_id");
  c.eos_ids = stop_ids(json);
  c.pad_id = token_id(json, "pad_token_id");
  check_shapes(json, c);
  return c;
}

Json to_config_json(const ModelConfig& c) {
  const auto id = [](const std::optional<std::int32_t>& value) { return value ? Json(*value) : Json(); };
  const Json eos = c.eos_ids.empty() ? Json() : c.eos_ids.size() == 1 ? Json(c.eos_ids[0]) : Json(c.eos_ids);
  // Rotary settings in both spellings: transformers 5 reads rope_parameters, older readers rope_theta.
  return Json::Object{
      {"architectures", Json::List{family_named(c.family).architecture}},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", id(c.bos_id)},
      {"eos_token_id", eos},
      {"head_dim", c.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", c.hidden_size},
      {"initializer_range", c.initializer_range},
      {"intermediate_size", c.intermediate_size},
      {"max_position_embeddings", c.max_positions},
      {"mlp_bias", false},
      {"model_type", c.family},
      {"num_attention_heads", c.num_heads},
      {"num_hidden_layers", c.num_layers},
      {"num_key_value_heads", c.num_kv_heads},
      {"pad_token_id", id(c.pad_id)},
      {"rms_norm_eps", c.norm_eps},
      {"rope_parameters", Json::Object{{"rope_theta", c.rope_theta}, {"rope_type", "default"}}},
      {"rope_theta", c.rope_theta},
      {"tie_word_embeddings", c.tie_embeddings},
      {"vocab_size", c.vocab_size},
  };
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

}  // namespace grpo
