// The decoder that Llama and Qwen share: RMS norm, rotary grouped-query attention, SwiGLU. Families differ in its
// parts.
#pragma once

#include <vector>

#include "model/families.h"

namespace grpo::inline GRPO_ABI {

struct DecoderParts {
  bool qkv_bias = false;
  bool output_bias = false;  // of o_proj
  bool mlp_bias = false;
  bool head_norms = false;  // RMS norm of each query and key head before the rotation
  bool gguf_pairs = false;  // WeightSpec::gguf_paired_heads
};

std::vector<WeightSpec> decoder_weights(const ModelConfig& config, const DecoderParts& parts);
at::Tensor decoder_forward(const ForwardInput& input, const DecoderParts& parts);

}  // namespace grpo::inline GRPO_ABI
