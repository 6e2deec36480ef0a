// From a file's tensors to a model's parameters.
#pragma once

#include <string>
#include <vector>

#include <grpo/model.h>

#include "model/families.h"
#include "model/stored_tensor.h"

namespace grpo::inline GRPO_ABI {

enum class WeightFormat { HuggingFace, Gguf };

struct WeightFile {
  std::string path;  // for messages
  WeightFormat format = WeightFormat::HuggingFace;
  std::vector<StoredTensor> tensors;
};

// The tensor for each spec, in the order of `specs`. Missing, extra and misshapen ones are one Error that lists them.
std::vector<const StoredTensor*> match_weights(const WeightFile& file, const std::vector<WeightSpec>& specs);
// fp32 values in Hugging Face's row order.
at::Tensor read_weight(const StoredTensor& tensor, const WeightSpec& spec, WeightFormat format);
// normal(0, range), ones or zeros, addressed by (seed, name, element): the same whatever the threads or the packed
// order.
at::Tensor initial_weight(const WeightSpec& spec, std::int64_t seed, double range);

}  // namespace grpo::inline GRPO_ABI
