// GGUF model files: configuration and tensors.
#pragma once

#include <string>
#include <vector>

#include <grpo/model.h>

#include "model/families.h"
#include "model/stored_tensor.h"
#include "text/gguf_metadata.h"

namespace grpo::inline GRPO_ABI {

struct GgufModel {
  ModelConfig config;
  std::vector<StoredTensor> tensors;  // names and row order as in the file
};
GgufModel open_gguf(const std::string& path);
ModelConfig gguf_config(const std::string& path);  // from the metadata alone

// Rows of a tensor whose heads hold their rotary pairs side by side, back in Hugging Face's order; and the reverse.
at::Tensor unpair_rows(const at::Tensor& values, std::int64_t heads);
at::Tensor pair_rows(const at::Tensor& values, std::int64_t heads);

// GGUF keeps reals as float32: the shortest decimal that means the same float (1e-05, not 9.999999747378752e-06).
double shortest_decimal(double value);
[[noreturn]] void refuse_gguf_key(const GgufFile& file, const std::string& key, const std::string& expected);

}  // namespace grpo::inline GRPO_ABI
