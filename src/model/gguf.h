// GGUF model files: configuration and tensors.
#pragma once

#include <string>
#include <vector>

#include <grpo/model.h>

#include "model/families.h"
#include "model/stored_tensor.h"

namespace grpo {

struct GgufModel {
  ModelConfig config;
  std::vector<StoredTensor> tensors;  // names and row order as in the file
};
GgufModel map_gguf(const std::string& path);
ModelConfig gguf_config(const std::string& path);  // from the metadata alone

// Rows of a tensor whose heads hold their rotary pairs side by side, back in Hugging Face's order.
at::Tensor unpair_rows(const at::Tensor& values, std::int64_t heads);

}  // namespace grpo
