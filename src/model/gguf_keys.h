// Keys of GGUF metadata that reader and writer share.
#pragma once

#include <cstdint>

#include "model/stored_tensor.h"

namespace grpo::inline GRPO_ABI {

struct GgufKey {
  const char* ours;  // in config.json
  const char* gguf;  // behind "<architecture>."
};
inline constexpr GgufKey kGgufIntegers[] = {
    {"hidden_size", "embedding_length"},
    {"intermediate_size", "feed_forward_length"},
    {"num_hidden_layers", "block_count"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"max_position_embeddings", "context_length"},
    {"vocab_size", "vocab_size"},
};
// The head size again.
inline constexpr const char* kGgufHeadSizes[] = {"attention.value_length", "rope.dimension_count"};
inline constexpr GgufKey kGgufReals[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"rope_theta", "rope.freq_base"},
};
// Stop ids, the tokenizer's end of sequence first.
inline constexpr const char* kGgufStopKeys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                                "tokenizer.ggml.eom_token_id"};

// ggml's numbers of the types that are read; those of GgufType are written too.
struct GgufTypeNumber {
  std::uint32_t number;
  StoredType type;
};
inline constexpr GgufTypeNumber kGgufTypes[] = {
    {0, StoredType::F32},  {1, StoredType::F16},  {2, StoredType::Q4_0},  {3, StoredType::Q4_1},
    {8, StoredType::Q8_0}, {28, StoredType::F64}, {30, StoredType::BF16},
};

}  // namespace grpo::inline GRPO_ABI
