#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "model/config_fields.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Type = RopeScaling::Type;

struct TypeFields {
  Type type;
  const char* name;                 // rope_type
  std::vector<const char*> fields;  // that it may have beside its type and rope_theta
};

const std::vector<TypeFields>& known_types() {
  static const std::vector<TypeFields> kTypes = {
      {Type::None, "default", {}},
      {Type::Linear, "linear", {"factor"}},
      {Type::Llama3, "llama3", {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}},
      {Type::Yarn,
       "yarn",
       {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "truncate"}},
  };
  return kTypes;
}

const TypeFields& type_of(const Json& rope, const std::string& where) {
  const char* key = config_value(rope, "rope_type") ? "rope_type" : "type";
  const Json* value = config_value(rope, key);
  if (!value) return known_types().front();
  std::string names;
  for (const TypeFields& known : known_types()) {
    if (*value == Json(known.name)) return known;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  refuse_field(*value, where + "." + key, "one of " + names + " (nothing else is supported)", *value);
}

// A setting that is not known here might change the frequencies.
void check_fields(const Json& rope, const TypeFields& type, const std::string& where) {
  constexpr std::string_view kCommon[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  for (const auto& [key, value] : rope.as_object()) {
    const bool known = value.is_null() || std::count(std::begin(kCommon), std::end(kCommon), key) > 0 ||
                       std::count(type.fields.begin(), type.fields.end(), key) > 0;
    if (!known) refuse_field(value, where + "." + key, fmt::format("no such setting with type {}", type.name), value);
  }
  require_setting(rope, "partial_rotary_factor", 1.0);
  require_setting(rope, "truncate", true);
}

// Beside the other settings or inside them; Hugging Face lets the first win, so they must agree.
std::int64_t original_positions(const Json& json, const Json& rope, const ModelConfig& c) {
  const std::string key = "original_max_position_embeddings";
  const std::int64_t outer = config_integer_or(json, key, c.max_positions);
  const std::int64_t inner = config_integer_or(rope, key, outer);
  if (inner != outer && config_value(json, key)) {
    refuse_field(json.at(key), key, fmt::format("{}, as in the rotary settings", inner), outer);
  }
  return inner;
}

RopeScaling scaling_of(const Json& json, const std::string& where, const ModelConfig& c) {
  const Json& rope = json.at(where);
  const TypeFields& type = type_of(rope, where);
  check_fields(rope, type, where);
  RopeScaling s;
  s.type = type.type;
  if (s.type == Type::None) return s;
  s.factor = config_positive(rope, "factor");
  if (s.factor < 1) refuse_field(rope.at("factor"), where + ".factor", "a factor of at least 1", rope.at("factor"));
  if (s.type == Type::Linear) return s;
  s.original_max_positions = original_positions(json, rope, c);
  if (s.type == Type::Llama3) {
    s.low_freq_factor = config_positive(rope, "low_freq_factor");
    s.high_freq_factor = config_positive(rope, "high_freq_factor");
    if (s.high_freq_factor <= s.low_freq_factor) {
      refuse_field(rope, where + ".high_freq_factor", "more than low_freq_factor", s.high_freq_factor);
    }
    return s;
  }
  s.attention_factor = config_positive_or(rope, "attention_factor", default_attention_factor(s.factor));
  s.beta_fast = config_positive_or(rope, "beta_fast", s.beta_fast);
  s.beta_slow = config_positive_or(rope, "beta_slow", s.beta_slow);
  return s;
}

Json scaling_json(const RopeScaling& s) {
  Json json;
  for (const TypeFields& known : known_types()) {
    if (known.type == s.type) json["rope_type"] = known.name;
  }
  if (s.type == Type::None) return json;
  json["factor"] = s.factor;
  if (s.type == Type::Linear) return json;
  json["original_max_position_embeddings"] = s.original_max_positions;
  if (s.type == Type::Llama3) {
    json["low_freq_factor"] = s.low_freq_factor;
    json["high_freq_factor"] = s.high_freq_factor;
  } else {
    json["attention_factor"] = s.attention_factor;
    json["beta_fast"] = s.beta_fast;
    json["beta_slow"] = s.beta_slow;
  }
  return json;
}

// Long waves are stretched by the factor, short ones stay, those between go over smoothly.
void scale_llama3(const RopeScaling& s, std::vector<double>& frequencies) {
  for (double& frequency : frequencies) {
    const double turns = static_cast<double>(s.original_max_positions) * frequency / (2 * std::numbers::pi);
    const double smooth = std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
    frequency *= (1 - smooth) / s.factor + smooth;
  }
}

// YaRN (arXiv 2309.00071): a ramp over the pairs, between those that turn beta_fast and beta_slow times.
void scale_yarn(const ModelConfig& c, std::vector<double>& frequencies) {
  const RopeScaling& s = c.rope_scaling;
  const auto pair_that_turns = [&](double times) {
    const double wave = static_cast<double>(s.original_max_positions) / (times * 2 * std::numbers::pi);
    return static_cast<double>(c.head_dim) * std::log(wave) / (2 * std::log(c.rope_theta));
  };
  const double first = std::max(std::floor(pair_that_turns(s.beta_fast)), 0.0);
  double last = std::min(std::ceil(pair_that_turns(s.beta_slow)), static_cast<double>(c.head_dim - 1));
  if (last == first) last += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
    frequencies[i] *= ramp / s.factor + (1 - ramp);
  }
}

}  // namespace

double default_attention_factor(double factor) { return factor > 1 ? 0.1 * std::log(factor) + 1 : 1; }

void read_rope(const Json& json, ModelConfig& config) {
  for (const auto& [key, value] : json.as_object()) {
    const bool known = key == "rope_theta" || key == "rope_scaling" || key == "rope_parameters";
    // false and null say that the setting is not used.
    if (key.rfind("rope_", 0) != 0 || known || value.is_null() || value == Json(false)) continue;
    refuse_field(value, key, "no such setting (it is not supported)", value);
  }
  std::optional<double> theta;
  if (config_value(json, "rope_theta")) theta = config_positive(json, "rope_theta");
  std::optional<Json> seen;
  for (const std::string key : {"rope_parameters", "rope_scaling"}) {
    const Json* rope = config_value(json, key);
    if (!rope) continue;
    if (!rope->is_object()) refuse_field(*rope, key, "an object", *rope);
    if (config_value(*rope, "rope_theta")) {
      const double inner = config_positive(*rope, "rope_theta");
      if (theta.value_or(inner) != inner) {
        refuse_field(*rope, key + ".rope_theta", fmt::format("{}, as elsewhere in the file", *theta), inner);
      }
      theta = inner;
    }
    config.rope_scaling = scaling_of(json, key, config);
    const Json read = scaling_json(config.rope_scaling);
    if (seen && !(*seen == read)) refuse_field(*rope, key, "the same as rope_parameters: " + seen->dump(), read);
    seen = read;
  }
  config.rope_theta = theta.value_or(config.rope_theta);
}

void write_rope(const ModelConfig& config, Json& json) {
  const Json scaling = scaling_json(config.rope_scaling);
  Json parameters = scaling;
  parameters["rope_theta"] = config.rope_theta;
  json["rope_parameters"] = std::move(parameters);
  json["rope_scaling"] = config.rope_scaling.type == Type::None ? Json() : scaling;
  json["rope_theta"] = config.rope_theta;
}

std::vector<double> unscaled_rope_frequencies(const ModelConfig& config) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    frequencies.push_back(
        std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim)));
  }
  return frequencies;
}

std::vector<double> rope_frequencies(const ModelConfig& config) {
  std::vector<double> frequencies = unscaled_rope_frequencies(config);
  switch (config.rope_scaling.type) {
    case Type::None:
      break;
    case Type::Linear:
      for (double& frequency : frequencies) frequency /= config.rope_scaling.factor;
      break;
    case Type::Llama3:
      scale_llama3(config.rope_scaling, frequencies);
      break;
    case Type::Yarn:
      scale_yarn(config, frequencies);
      break;
  }
  return frequencies;
}

at::Tensor make_rope_table(std::int64_t rows, const ModelConfig& config) {
  const std::vector<double> frequencies = rope_frequencies(config);
  const double factor = config.rope_scaling.attention_factor;
  const auto half = static_cast<std::int64_t>(frequencies.size());
  at::Tensor table = at::empty({rows, half, 2}, at::kFloat);
  auto* to = table.data_ptr<float>();
  at::parallel_for(0, rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(row) * frequencies[static_cast<std::size_t>(i)];
        to[(row * half + i) * 2] = static_cast<float>(std::cos(angle) * factor);
        to[(row * half + i) * 2 + 1] = static_cast<float>(std::sin(angle) * factor);
      }
    }
  });
  return table;
}

}  // namespace grpo::inline GRPO_ABI
