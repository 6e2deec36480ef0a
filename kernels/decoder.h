// All layers of a decoder over a key-value cache, in one parallel region with its own barriers: prefill and decode.
//
// A layer is  x += o(attention(rope(norm(q(h))), rope(norm(k(h))), v(h))), h = rms_norm(x), then
//             x += down(silu(gate(h)) up(h)), h = rms_norm(x),
// with every intermediate rounded to the type where the operations of layers.h, linear.h and attention.h round, so that
// the bits are those of the same operations one by one.
#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/threads.h"

namespace grpo::kernels {

struct DecoderWeight {
  const void* packed = nullptr;
  const float* bias = nullptr;  // or null
};
struct DecoderLayer {
  DecoderWeight q, k, v, o, gate, up, down;
  const float *q_norm = nullptr, *k_norm = nullptr;  // [head], of each head by itself; or null
  const float *attention_norm = nullptr, *mlp_norm = nullptr;
  void* store = nullptr;  // blocks of keys and values
};

struct DecoderArgs {
  AttentionShape shape;  // its type is that of everything
  std::int64_t width = 0, intermediate = 0;
  float eps = 0;
  const DecoderLayer* layers = nullptr;
  std::int64_t num_layers = 0;
  void* x = nullptr;  // [rows, width], in and out
  std::int64_t rows = 0;
  const std::int32_t* positions = nullptr;       // [rows]
  const float* rope_table = nullptr;             // as in rope()
  const AttentionSequence* sequences = nullptr;  // cover the rows in order
  std::int64_t num_sequences = 0;
  void* scratch = nullptr;  // decoder_scratch() bytes, aligned to 64
};
std::int64_t decoder_scratch(const DecoderArgs& args, const Team& team);
void decoder_layers(const DecoderArgs& args, Isa isa, const Team& team);

}  // namespace grpo::kernels
