// Self-attention of one forward pass: over the batch itself (training) or over a cache (prefill, decode).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <grpo/model.h>
#include <grpo/ops.h>

namespace grpo::inline GRPO_ABI {

class Attend {
 public:
  Attend(AttentionHeads heads, std::vector<PackedSequence> sequences) : heads_(heads), packed_(std::move(sequences)) {}
  // `stores`: one per layer, written to.
  Attend(AttentionHeads heads, std::vector<CachedSequence> sequences, std::vector<at::Tensor>& stores)
      : heads_(heads), cached_(std::move(sequences)), stores_(&stores) {}

  // q [T, H*E], k and v [T, K*E], rotated -> [T, H*E].
  at::Tensor operator()(std::size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    if (stores_) return attention_cached(q, k, v, cached_, heads_, (*stores_)[layer]);
    return attention(q, k, v, packed_, heads_);
  }

 private:
  AttentionHeads heads_;
  std::vector<PackedSequence> packed_;
  std::vector<CachedSequence> cached_;
  std::vector<at::Tensor>* stores_ = nullptr;
};

}  // namespace grpo::inline GRPO_ABI
