// Matrix products with packed weights: y = x W^T, its data gradient and its weight gradient.
//
// Packed order (panels of 16 outputs, zero padded):
//   F32 : [ceil(out/16)][in][16]                  element (n, k) at (n/16)(16 in) + 16 k + n%16
//   BF16: [ceil(out/16)][ceil(in,32)/4][2][16][2] element (n, k) at (n/16)(16 in32) + pair_offset(k) + 2 (n%16)
// where a word of 32 bits holds k (high) and k + 2 (low): two steps of one chain below, as vdpbf16ps takes them.
// fp32 masters, gradients and moments of a BF16 weight keep the same order (as floats).
//
// One order of summation, whatever the rows, threads or instruction set (so a row's result never depends on its batch):
//   F32 : one FMA chain per output over k ascending, from 0.
//   BF16: per 32 k one fp32 FMA chain over the even k and one over the odd k, each from 0, added (even + odd), then
//         added to the accumulator. Inputs are exact bf16 values; subnormal inputs and results count as 0.
// This is what AMX computes, and what vdpbf16ps does with k in the packed order. Both gradients sum in the same way,
// over n and over rows, where both of their inputs are BF16; else in the F32 way.
#pragma once

#include <cstdint>

#include "kernels/threads.h"
#include "kernels/types.h"

namespace grpo::kernels {

inline constexpr std::int64_t kPanel = 16;
inline constexpr std::int64_t kPairBlock = 32;  // k of one block of the BF16 order

// Instruction sets a kernel exists for. Scalar is the reference (std::fma). Avx512Bf16 and Amx are Avx512 but for
// products of bf16.
enum class Isa { Scalar, Avx2, Avx512, Avx512Bf16, Amx };
inline constexpr Isa kIsas[] = {Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx};
Isa best_isa();          // what this CPU runs, detected once
bool isa_runs(Isa isa);  // on this CPU
const char* name(Isa isa);

// Element k of the first output in a panel of the BF16 order.
constexpr std::int64_t pair_offset(std::int64_t k) {
  return 4 * kPanel * (k / 4) + 2 * kPanel * (k % 2) + (k % 4 < 2 ? 1 : 0);
}

std::int64_t packed_elements(Type order, std::int64_t out, std::int64_t in);
std::int64_t packed_index(Type order, std::int64_t in, std::int64_t n, std::int64_t k);
// Row-major [out, in] to packed order and back (fp32 both; padding is written as 0 by pack).
void pack(Type order, const float* row_major, std::int64_t out, std::int64_t in, float* packed, const Team& team);
void unpack(Type order, const float* packed, std::int64_t out, std::int64_t in, float* row_major, const Team& team);
void round_to_bf16(const float* from, bf16* to, std::int64_t n, const Team& team);

struct LinearArgs {
  Type type = Type::F32;    // of x and of the packed weight
  const void* x = nullptr;  // [rows, in], row stride x_stride elements
  std::int64_t rows = 0, in = 0, x_stride = 0;
  const void* weight = nullptr;      // packed, whole
  std::int64_t out = 0;              // outputs of the whole weight
  std::int64_t first = 0, last = 0;  // outputs [first, last) are computed; first is a multiple of 16
  const float* bias = nullptr;       // [out] or null, added last
  Type y_type = Type::F32;
  void* y = nullptr;  // [rows, last - first], row stride y_stride
  std::int64_t y_stride = 0;
};
// y = x W^T + bias. `isa` must run on this CPU (here and below).
void linear(const LinearArgs& args, Isa isa, const Team& team);
// Several products of one x on the calling thread: `args` agree in type, x, rows, in and x_stride.
void linear_each(const LinearArgs* args, int count, Isa isa);

struct LinearInputGradArgs {
  Type dy_type = Type::F32;
  const void* dy = nullptr;  // [rows, last - first]
  std::int64_t rows = 0, dy_stride = 0;
  Type weight_type = Type::F32;
  const void* weight = nullptr;                       // packed
  std::int64_t out = 0, in = 0, first = 0, last = 0;  // as above
  bool accumulate = false;                            // dx += (dx_type F32 only)
  Type dx_type = Type::F32;
  void* dx = nullptr;  // [rows, in]
  std::int64_t dx_stride = 0;
};
// dx = dy W.
void linear_input_grad(const LinearInputGradArgs& args, Isa isa, const Team& team);

struct LinearWeightGradArgs {
  Type dy_type = Type::F32;
  const void* dy = nullptr;  // [rows, last - first]
  std::int64_t rows = 0, dy_stride = 0;
  Type x_type = Type::F32;
  const void* x = nullptr;  // [rows, in]
  std::int64_t x_stride = 0;
  Type order = Type::F32;  // packed order of grad
  float* grad = nullptr;   // packed, whole; grad += dy^T x for outputs [first, last)
  std::int64_t out = 0, in = 0, first = 0, last = 0;
  float* bias_grad = nullptr;  // [out] or null; += column sums of dy
};
// Sums over rows start from grad: rows in several calls continue it (BF16: blocks of 32 are counted from a call's first
// row). bias_grad: plain sums.
void linear_weight_grad(const LinearWeightGradArgs& args, Isa isa, const Team& team);

}  // namespace grpo::kernels
