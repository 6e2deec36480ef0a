#include "model/qwen3.h"

#include "model/config_fields.h"
#include "model/decoder.h"
#include "model/qwen2.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr DecoderParts kParts{.head_norms = true};

void read_config(const Json& json, ModelConfig& config) {
  require_setting(json, "attention_bias", false);
  refuse_used_window(json, config);
}

void write_config(const ModelConfig&, Json& json) {
  json["attention_bias"] = false;
  json["use_sliding_window"] = false;
}

std::vector<WeightSpec> weights(const ModelConfig& config) { return decoder_weights(config, kParts); }

at::Tensor forward(const ForwardInput& in) { return decoder_forward(in, kParts); }

}  // namespace

Family qwen3_family() {
  return {.model_type = "qwen3",
          .architecture = "Qwen3ForCausalLM",
          .gguf_architecture = "qwen3",
          .defaults = {.max_positions = 32768, .num_kv_heads = 32, .head_dim = 128},
          .read_config = read_config,
          .write_config = write_config,
          .weights = weights,
          .forward = forward};
}

}  // namespace grpo::inline GRPO_ABI
