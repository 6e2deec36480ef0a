#include "model/gguf_rope.h"

#include <algorithm>
#include <cmath>

#include "model/gguf.h"
#include "model/rope.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Type = RopeScaling::Type;

// A note to ourselves; other programs pass over it.
constexpr const char* kOwnKey = "grpo.rope_parameters";

bool same_factors(const std::vector<float>& a, const std::vector<float>& b) {
  // Files hold factors worked out in fp32: some roundings, grown by at most factor / 4 between the bands.
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return std::abs(x - y) <= 1e-4F * std::abs(y); });
}

}  // namespace

Json read_gguf_rope(const GgufFile& file, const std::string& prefix) {
  const std::string scaling = prefix + "rope.scaling.";
  for (const char* key : {"alpha", "attn_factor", "yarn_ext_factor", "yarn_attn_factor", "yarn_log_multiplier"}) {
    if (file.has(scaling + key)) refuse_gguf_key(file, scaling + key, "no such key");
  }
  if (file.has(prefix + "rope.scale_linear")) refuse_gguf_key(file, prefix + "rope.scale_linear", "no such key");
  const std::string type_key = scaling + "type", factor_key = scaling + "factor";
  const std::string type = file.has(type_key) ? file.string_at(type_key) : "linear";  // llama.cpp's default
  if (type == "none" || (type == "linear" && !file.has(factor_key))) return {};
  if (type != "linear" && type != "yarn") refuse_gguf_key(file, type_key, "none, linear or yarn");
  Json rope = Json::Object{{"rope_type", type}, {"factor", shortest_decimal(file.double_at(factor_key))}};
  const std::string original = scaling + "original_context_length";
  if (type == "yarn" && file.has(original)) rope["original_max_position_embeddings"] = file.int_at(original);
  for (const char* beta : {"beta_fast", "beta_slow"}) {
    const std::string key = scaling + "yarn_" + beta;
    if (file.has(key)) rope[beta] = shortest_decimal(file.double_at(key));
  }
  return rope;
}

RopeScaling scaling_of_factors(const GgufFile& file, const std::vector<float>& factors, const ModelConfig& config) {
  ModelConfig candidate = config;
  if (file.has(kOwnKey)) {
    const Json own = parse_json(file.string_at(kOwnKey), {.source = file.source() + ": " + kOwnKey});
    read_rope(Json::Object{{"rope_parameters", own}}, candidate);
  } else {
    candidate.rope_scaling.type = Type::Llama3;
    candidate.rope_scaling.original_max_positions = 8192;
    candidate.rope_scaling.factor = *std::max_element(factors.begin(), factors.end());
  }
  GRPO_CHECK(same_factors(factors, rope_factors(candidate)),
             file.source() + ": tensor \"" + kRopeFactorsName +
                 "\": expected Llama 3.1's factors (low 1, high 4, 8192 positions; nothing else is supported)");
  return candidate.rope_scaling;
}

void write_gguf_rope(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata) {
  const RopeScaling& s = config.rope_scaling;
  const std::string scaling = prefix + "rope.scaling.";
  switch (s.type) {
    case Type::None:
      return;
    case Type::Llama3: {
      GRPO_CHECK(config.family == "llama",
                 "save_gguf: rope type llama3: expected family llama (llama.cpp reads its factors for no other), got " +
                     config.family);
      Json json;
      write_rope(config, json);
      metadata.text(kOwnKey, json.at("rope_scaling").dump());
      return;
    }
    case Type::Yarn: {
      const RopeScaling defaults;
      GRPO_CHECK(s.attention_factor == default_attention_factor(s.factor) && s.beta_fast == defaults.beta_fast &&
                     s.beta_slow == defaults.beta_slow,
                 "save_gguf: rope type yarn: expected default attention_factor, beta_fast and beta_slow (GGUF names no "
                 "others)");
      metadata.text(scaling + "type", "yarn");
      metadata.integer(scaling + "original_context_length", static_cast<std::uint32_t>(s.original_max_positions));
      break;
    }
    case Type::Linear:
      metadata.text(scaling + "type", "linear");
  }
  metadata.real(scaling + "factor", static_cast<float>(s.factor));
}

std::vector<float> rope_factors(const ModelConfig& config) {
  std::vector<float> factors;
  if (config.rope_scaling.type != Type::Llama3) return factors;
  const std::vector<double> plain = unscaled_rope_frequencies(config), scaled = rope_frequencies(config);
  for (std::size_t i = 0; i < plain.size(); ++i) factors.push_back(static_cast<float>(plain[i] / scaled[i]));
  return factors;
}

}  // namespace grpo::inline GRPO_ABI
