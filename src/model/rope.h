// Rotary positions: their settings in config.json, frequencies, and the table that the operation reads.
#pragma once

#include <cstdint>
#include <vector>

#include <grpo/model.h>

namespace grpo::inline GRPO_ABI {

// Sets rope_theta and rope_scaling from either spelling: `rope_parameters`, or `rope_theta` beside `rope_scaling`.
// `config` has its sizes. Throws Error for settings that cannot be honoured.
void read_rope(const Json& config_json, ModelConfig& config);
// Both spellings: transformers 5 reads the first, older readers the others.
void write_rope(const ModelConfig& config, Json& config_json);

// What YaRN multiplies cosines and sines by unless the configuration says otherwise.
double default_attention_factor(double factor);

// Radians per position of each pair of elements [head_dim / 2], scaling included.
std::vector<double> rope_frequencies(const ModelConfig& config);
// The same without scaling: theta^(-2i / head_dim).
std::vector<double> unscaled_rope_frequencies(const ModelConfig& config);
// fp32 [rows, head_dim / 2, 2] of (cos, sin), worked out in double.
at::Tensor make_rope_table(std::int64_t rows, const ModelConfig& config);

}  // namespace grpo::inline GRPO_ABI
