// Self-attention of one forward pass: over the batch itself (training) or over a cache (prefill, decode).
#pragma once

#include <optional>
#include <vector>

#include <grpo/model.h>
#include <grpo/ops.h>

#include "ops/decode.h"

namespace grpo::inline GRPO_ABI {

struct Attend {
  AttentionHeads heads;
  std::vector<PackedSequence> packed;
  std::optional<ops::DecoderCache> cache;  // instead of `packed`

  // Training: q [T, H*E], k and v [T, K*E], rotated -> [T, H*E].
  at::Tensor operator()(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    return attention(q, k, v, packed, heads);
  }
};

}  // namespace grpo::inline GRPO_ABI
