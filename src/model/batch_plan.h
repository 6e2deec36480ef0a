// A checked TokenBatch in the form the operations take.
#pragma once

#include <cstdint>
#include <vector>

#include <grpo/model.h>

#include "model/attend.h"

namespace grpo::inline GRPO_ABI {

struct BatchPlan {
  at::Tensor ids, positions;  // int32 [T]
  std::int64_t max_position = 0;
  Attend attend;
};

// Throws Error for a batch that breaks a rule of TokenBatch, of the model's sizes or of the cache; the cache has then
// not changed. With a cache, room for the new positions is taken and `cache`'s lengths stay as they are.
BatchPlan plan_batch(const TokenBatch& batch, const ModelConfig& config, DType dtype, KvCache::Impl* cache);

}  // namespace grpo::inline GRPO_ABI
