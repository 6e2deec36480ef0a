// Rotary scaling in GGUF: metadata rope.scaling.* for linear and yarn, a tensor of factors for llama3.
#pragma once

#include <string>
#include <vector>

#include <grpo/model.h>

#include "text/gguf_metadata.h"
#include "text/gguf_write.h"

namespace grpo::inline GRPO_ABI {

inline constexpr const char* kRopeFactorsName = "rope_freqs.weight";

// What a config.json would say as rope_scaling; null: nothing. `prefix` is "<architecture>.".
Json read_gguf_rope(const GgufFile& file, const std::string& prefix);
// The llama3 settings behind the tensor's factors, which name themselves when grpo wrote the file and else must be
// Llama 3.1's. `config` has everything else.
RopeScaling scaling_of_factors(const GgufFile& file, const std::vector<float>& factors, const ModelConfig& config);

// Throws Error for what llama.cpp could not be told.
void write_gguf_rope(const ModelConfig& config, const std::string& prefix, GgufMetadata& metadata);
// [head_dim / 2] divisors of the frequencies; empty when the scaling needs none.
std::vector<float> rope_factors(const ModelConfig& config);

}  // namespace grpo::inline GRPO_ABI
