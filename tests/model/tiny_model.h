// Tiny models, tokens for them and files of any bytes.
#pragma once

#include <cmath>
#include <fstream>
#include <string>

#include <grpo/model.h>

#include "support/scratch_folder.h"

namespace grpo::testing {

// Without the sync of an AtomicFile: hostile-input tests write thousands of files.
inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline ModelConfig tiny_config(const std::string& family = "llama") {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 70;  // no multiple of a panel
  config.hidden_size = 32;
  config.intermediate_size = 40;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;  // heads x size differs from the width
  config.max_positions = 256;
  config.initializer_range = 0.2;
  config.bos_id = 1;
  config.eos_ids = {2, 5};
  return config;
}

// Norms and biases other than the ones and zeros that they start with.
inline void vary_vectors(const CausalLM& model) {
  float phase = 0;
  for (Parameter* parameter : model.parameters()) {
    if (parameter->layout == ParameterLayout::Panels) continue;
    at::Tensor values = get_values(*parameter);
    for (std::int64_t i = 0; i < values.numel(); ++i) values.data_ptr<float>()[i] += 0.3F * std::sin(phase += 1);
    set_values(*parameter, values);
  }
}

// One sequence of `length` tokens after another, each on its own.
inline TokenBatch separate_sequences(const std::vector<std::vector<std::int32_t>>& sequences) {
  TokenBatch batch;
  for (const auto& tokens : sequences) {
    const auto begin = static_cast<std::int64_t>(batch.tokens.size());
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    batch.sequences.push_back({.begin = begin, .end = static_cast<std::int64_t>(batch.tokens.size())});
  }
  return batch;
}

// Tokens that look random and are the same everywhere.
inline std::vector<std::int32_t> some_tokens(int count, std::uint32_t seed, std::int32_t vocabulary) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    tokens.push_back(static_cast<std::int32_t>((seed >> 8) % static_cast<std::uint32_t>(vocabulary)));
  }
  return tokens;
}

}  // namespace grpo::testing
