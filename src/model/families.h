// What a model family brings: one file (llama.cpp, ...) and one row in families.cpp. Everything else in this module
// works from the row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <grpo/model.h>

#include "model/attend.h"

namespace grpo {

enum class WeightInit { Normal, One };

// One weight: its names in both file formats and its logical shape.
struct WeightSpec {
  std::string name;  // Hugging Face
  std::string gguf_name;
  std::vector<std::int64_t> shape;
  WeightInit init = WeightInit::Normal;
  // llama.cpp stores these rows with each head's rotary pairs (i, i + head/2) side by side: heads; 0: as they are.
  std::int64_t gguf_paired_heads = 0;
};

// What a forward reads. T tokens.
struct ForwardInput {
  const ModelConfig& config;
  std::span<Parameter* const> parameters;  // in the order of Family::weights
  at::Tensor ids, positions;               // int32 [T]
  at::Tensor rope_table;                   // fp32 [positions, head_dim / 2, 2]
  Attend attend;
};

struct Family {
  const char* model_type;         // in config.json
  const char* architecture;       // likewise, in `architectures`
  const char* gguf_architecture;  // general.architecture
  // Throws Error for settings of this family that cannot be honoured.
  void (*check_config)(const Json& config_json);
  // In the order in which Hugging Face's modules hold them. The head is "lm_head.weight", absent when tied.
  std::vector<WeightSpec> (*weights)(const ModelConfig& config);
  // Final normed hidden states [T, D].
  at::Tensor (*forward)(const ForwardInput& input);
};

std::span<const Family> families();
const Family& family_named(std::string_view model_type);  // throws Error listing those that exist

inline constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
inline constexpr std::string_view kHeadName = "lm_head.weight";

// "<where>: <key>: expected <expected>, got <value>" for a setting that cannot be honoured; absent and null are fine.
void require_setting(const Json& config_json, std::string_view key, const Json& expected);
// `eos_token_id` of config.json or generation_config.json: an id, a list of them, null or absent.
std::vector<std::int32_t> stop_ids(const Json& json);

}  // namespace grpo
