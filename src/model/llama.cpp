#include "model/llama.h"

#include "model/config_fields.h"
#include "model/decoder.h"

namespace grpo::inline GRPO_ABI {
namespace {

void read_config(const Json& json, ModelConfig& config) {
  require_setting(json, "sliding_window", nullptr);
  config.attention_bias = config_flag_or(json, "attention_bias", false);
  config.mlp_bias = config_flag_or(json, "mlp_bias", false);
}

void write_config(const ModelConfig& config, Json& json) {
  json["attention_bias"] = config.attention_bias;
  json["mlp_bias"] = config.mlp_bias;
}

DecoderParts parts(const ModelConfig& c) {
  return {.qkv_bias = c.attention_bias,
          .output_bias = c.attention_bias,
          .mlp_bias = c.mlp_bias,
          .head_norms = false,
          .gguf_pairs = true};
}

std::vector<WeightSpec> weights(const ModelConfig& config) { return decoder_weights(config, parts(config)); }

at::Tensor forward(const ForwardInput& in) { return decoder_forward(in, parts(in.config)); }

}  // namespace

Family llama_family() {
  return {.model_type = "llama",
          .architecture = "LlamaForCausalLM",
          .gguf_architecture = "llama",
          .defaults = {},
          .read_config = read_config,
          .write_config = write_config,
          .weights = weights,
          .forward = forward};
}

}  // namespace grpo::inline GRPO_ABI
