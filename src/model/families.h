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

namespace grpo::inline GRPO_ABI {

enum class WeightInit { Normal, One, Zero };

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
  // Called in backward when the gradients of this layer's parameters are complete; empty: nobody asks.
  std::function<void(std::int64_t layer)> layer_done;
  bool recompute = false;  // CausalLM::set_recompute
};

// What Hugging Face's class takes for a field that config.json leaves out.
struct FamilyDefaults {
  std::int64_t max_positions = 2048;
  std::int64_t num_kv_heads = 0;  // 0: num_attention_heads
  std::int64_t head_dim = 0;      // 0: hidden_size / num_attention_heads
};

struct Family {
  const char* model_type;         // in config.json
  const char* architecture;       // likewise, in `architectures`
  const char* gguf_architecture;  // general.architecture
  FamilyDefaults defaults;
  // The settings that not every family has: read into `config`, which has the others; written for Hugging Face. Throws
  // Error for those that cannot be honoured.
  void (*read_config)(const Json& config_json, ModelConfig& config);
  void (*write_config)(const ModelConfig& config, Json& config_json);
  // In the order in which Hugging Face's modules hold them. The head is "lm_head.weight", absent when tied.
  std::vector<WeightSpec> (*weights)(const ModelConfig& config);
  // Final normed hidden states [T, D].
  at::Tensor (*forward)(const ForwardInput& input);
};

std::span<const Family> families();
const Family& family_named(std::string_view model_type);  // throws Error listing those that exist

inline constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
inline constexpr std::string_view kHeadName = "lm_head.weight";

// `eos_token_id` of config.json or generation_config.json: an id, a list of them, null or absent.
std::vector<std::int32_t> stop_ids(const Json& json);

}  // namespace grpo::inline GRPO_ABI
