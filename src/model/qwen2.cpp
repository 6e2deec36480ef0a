#include "model/qwen2.h"

#include <fmt/format.h>

#include "model/config_fields.h"
#include "model/decoder.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr DecoderParts kParts{.qkv_bias = true};

void read_config(const Json& json, ModelConfig& config) { refuse_used_window(json, config); }

void write_config(const ModelConfig&, Json& json) { json["use_sliding_window"] = false; }

std::vector<WeightSpec> weights(const ModelConfig& config) { return decoder_weights(config, kParts); }

at::Tensor forward(const ForwardInput& in) { return decoder_forward(in, kParts); }

}  // namespace

void refuse_used_window(const Json& json, const ModelConfig& config) {
  const Json* window = json.find("sliding_window");
  if (!config_flag_or(json, "use_sliding_window", false) || (window && window->is_null())) return;
  const std::int64_t full_layers = config_integer_or(json, "max_window_layers", 28, {0, kMaxConfigInteger});
  if (full_layers >= config.num_layers) return;
  refuse_field(json, "use_sliding_window",
               fmt::format("false, or max_window_layers of at least {} (windows are not supported)", config.num_layers),
               true);
}

Family qwen2_family() {
  return {.model_type = "qwen2",
          .architecture = "Qwen2ForCausalLM",
          .gguf_architecture = "qwen2",
          .defaults = {.max_positions = 32768, .num_kv_heads = 32},
          .read_config = read_config,
          .write_config = write_config,
          .weights = weights,
          .forward = forward};
}

}  // namespace grpo::inline GRPO_ABI
