// Row-wise loops over 16 logical lanes, one table of functions per instruction set.
//
// All tables agree bit for bit (NaN payloads aside): lane i of a sum takes the elements i, i + 16, ... in order, by FMA
// where there is a product; lanes are added as i and i + 8, then i and i + 4, i + 2, i + 1; exp is one polynomial;
// missing elements of the last group are replaced by a value that changes nothing. The files vector_<isa>.cpp share the
// text of vector.inc, compiled once for each instruction set, and no compiled code.
#pragma once

#include <cstdint>

namespace grpo::kernels {

enum class Isa;

// Online softmax of score rows [rows][32] of one block of positions; the first `count` positions take part.
struct AttentionRows {
  float* scores;  // unscaled in; exp(scale * score - running maximum) out, 0 from `count` on
  std::int64_t rows, count;
  float scale;
  float* max;  // [rows] running maximum of the scaled scores
  float* sum;  // [rows] running sum of exp
  float* out;  // [rows][head] sums so far, brought to the new maximum; null for a row's first block
  std::int64_t head;
};

// scores (unscaled) become p = exp(scale * score - lse), dp (d loss / d p) becomes scale * p (dp - delta), both 0 from
// `count` on.
struct AttentionGradRows {
  float* scores;  // [rows][32]
  float* dp;      // [rows][32]
  std::int64_t rows, count;
  float scale;
  const float* lse;    // [rows]
  const float* delta;  // [rows]
};

// x becomes p (a + b (log p + entropy)), log p = x * scale - max - log_sum.
struct SoftmaxGradRow {
  float scale, max, log_sum, entropy, a, b;
};

struct VectorTypeKernels {
  void (*widen)(const void* x, std::int64_t n, float* y);
  void (*narrow)(const float* x, std::int64_t n, void* y);  // round to nearest even
  // y = x * inv * weight, inv = 1 / sqrt(mean(x^2) + eps); inv_rms may be null.
  void (*rms_norm)(const void* x, const float* weight, float eps, std::int64_t rows, std::int64_t width, void* y,
                   float* inv_rms);
  // One row of rotary positions: `turns` are the cosines [head/2] of its angles, then their sines.
  void (*rope)(const void* x, const float* turns, std::int64_t heads, std::int64_t head, void* y);
  void (*add)(const void* a, const void* b, std::int64_t n, void* y);
  void (*swiglu)(const void* gate, const void* up, std::int64_t n, void* y);
  void (*swiglu_grad)(const void* gate, const void* up, const void* dy, std::int64_t n, void* dgate, void* dup);
};

struct VectorKernels {
  // y = exp(x * scale - shift): one polynomial, error below 2 ulp (subnormal results: 2 units of 2^-149); 0 below -104,
  // inf above 89.
  void (*exp)(const float* x, float scale, float shift, std::int64_t n, float* y);
  // result: maximum of z = x * scale; sums of exp(z - max) and of exp(z - max) (z - max), z - max cut at -104.
  void (*chunk_stats)(const float* x, float scale, std::int64_t n, float result[3]);
  void (*softmax_grad)(float* x, std::int64_t n, const SoftmaxGradRow& row);
  float (*dot)(const float* a, const float* b, std::int64_t n);
  void (*attention_rows)(const AttentionRows& args);
  void (*attention_grad_rows)(const AttentionGradRows& args);
  VectorTypeKernels f32, bf16;
};

extern const VectorKernels vector_scalar, vector_avx2, vector_avx512;
// `isa` must run on this CPU.
const VectorKernels& vector_kernels(Isa isa);

}  // namespace grpo::kernels
