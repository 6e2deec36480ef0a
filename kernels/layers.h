// The small operations of a decoder layer: embedding, RMS norm, rotary positions, SwiGLU. Row-wise, so batch-invariant;
// fp32 arithmetic inside, results rounded once to `type`.
#pragma once

#include <cstdint>

#include "kernels/linear.h"
#include "kernels/threads.h"
#include "kernels/types.h"

namespace grpo::kernels {

// out[t] = row ids[t] of a packed [vocab, width] weight.
void embedding(Type type, const void* packed, std::int64_t width, const std::int32_t* ids, std::int64_t rows, void* out,
               const Team& team);
// grad (packed order, fp32) += dy rows, in row order for each entry.
void embedding_grad(Type type, const void* dy, std::int64_t width, const std::int32_t* ids, std::int64_t rows,
                    float* grad, const Team& team);

// y = x / sqrt(mean(x^2) + eps) * weight (weight fp32 [width], rounded to `type` first when type is BF16).
// The mean is 16 interleaved FMA chains over k, added pairwise. inv_rms [rows] is written when not null.
void rms_norm(Type type, const void* x, const float* weight, float eps, std::int64_t rows, std::int64_t width, void* y,
              float* inv_rms, Isa isa, const Team& team);
// dx written; weight_grad [width] += sum over rows in row order.
void rms_norm_grad(Type type, const void* x, const float* weight, const float* inv_rms, const void* dy,
                   std::int64_t rows, std::int64_t width, void* dx, float* weight_grad, const Team& team);

// Rotary positions, half-split pairs (d, d + head/2) as Hugging Face's Llama has them.
// A row of a rotary table, [head/2] of (cos, sin), as a vector kernel takes it: cosines, then sines times `sign`.
void split_turns(const float* row, float sign, std::int64_t head, float* turns);
// table: [max_positions][head/2] of (cos, sin) pairs. x [rows, heads, head] to y; `inverse` rotates back (the
// gradient).
void rope(Type type, const void* x, const std::int32_t* positions, const float* table, std::int64_t rows,
          std::int64_t heads, std::int64_t head, bool inverse, void* y, Isa isa, const Team& team);

// y = silu(gate) * up, elementwise over [rows, width] each.
void swiglu(Type type, const void* gate, const void* up, std::int64_t n, void* y, Isa isa, const Team& team);
void swiglu_grad(Type type, const void* gate, const void* up, const void* dy, std::int64_t n, void* dgate, void* dup,
                 Isa isa, const Team& team);

// y = a + b, rounded once.
void add(Type type, const void* a, const void* b, std::int64_t n, void* y, Isa isa, const Team& team);

}  // namespace grpo::kernels
