// What sampling runs on: a decoder's layers over a cache, and the head with its draw, a few parallel regions for a
// whole step. No gradient. Bits are those of the same operations of grpo/ops.h one by one.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include <grpo/ops.h>

namespace grpo::ops {

struct Projection {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;  // or null
};
// One layer (kernels/decoder.h).
struct DecoderLayer {
  Projection q, k, v, o;
  Parameter *q_norm = nullptr, *k_norm = nullptr;  // or null
  Projection gate, up, down;
  Parameter *attention_norm = nullptr, *mlp_norm = nullptr;
};

struct DecoderCache {
  AttentionHeads heads;
  std::vector<CachedSequence> sequences;      // cover the rows in order
  std::vector<at::Tensor>* stores = nullptr;  // one per layer, written to
  at::Tensor* scratch = nullptr;              // made and grown here, for the next step
};
// x [T, D] -> [T, D]; positions int32 [T]; table as rope() has it.
at::Tensor decoder_layers(const at::Tensor& x, const std::vector<DecoderLayer>& layers, const at::Tensor& positions,
                          const at::Tensor& table, double eps, const DecoderCache& cache);

// One draw per hidden row [n, D], as sample(logits(hidden, head), ...). `logits` is scratch for the next call.
std::vector<SampledToken> draw_next(const at::Tensor& hidden, const Parameter& head,
                                    const std::vector<double>& uniforms, const SampleOptions& options,
                                    at::Tensor& logits);

}  // namespace grpo::ops
