// The register-blocked products under the linear and attention kernels: C (+)= A B with B in panels of 16 columns.
//
//   A(r, k)          = a[r * a_row + k * a_k]                 any strides
//   B(k, 16 p + j)   = b[p * b_panel + 16 k + j]              float and PlainHalf
//                      b[p * b_panel + pair_offset(k) + 2 j]  bf16
//   C(r, 16 p + j)   = c[r * c_row + p * c_panel + j]
//
// Order of summation of every C(r, n), whatever the other sizes and the instruction set: the order of kernels/linear.h,
// that is one FMA chain over k ascending (float, PlainHalf), or per 32 k an even and an odd chain (bf16).
#pragma once

#include <cstdint>

#include "kernels/linear.h"
#include "kernels/types.h"

namespace grpo::kernels {

template <class B>
struct PanelProduct {
  const float* a = nullptr;
  std::int64_t a_row = 0, a_k = 1;
  std::int64_t rows = 0;
  std::int64_t inner = 0;  // number of k; a multiple of 32 for bf16 (pad both sides with zeros)
  const B* b = nullptr;
  std::int64_t b_panel = 0;
  std::int64_t columns = 0;  // b has ceil(columns / 16) whole panels; c is touched in `columns` columns only
  float* c = nullptr;
  std::int64_t c_row = 0, c_panel = 16;
  bool accumulate = false;  // sums start from C instead of 0
};

// How a kernel for bf16 panels takes A. In all of them `a` counts 32-bit units.
enum class PairForm {
  Fp32,   // as above
  Words,  // two bf16: A(r, k + 2) low and A(r, k) high at a[(k/2 + k%2) a_k + r], k%4 = 0 or 1
  Rows,   // two bf16: A(r, k) low and A(r, k + 1) high at a[r * a_row + k/2], k even
};

template <class B>
struct PanelKernel {
  void (*run)(const PanelProduct<B>&);
  int max_rows;                           // in one call; more are cut into tiles of at most that many
  int unit_rows;                          // of a share that keeps the registers full
  int (*panels)(std::int64_t tile_rows);  // that a tile of this many rows reads side by side
  PairForm form = PairForm::Fp32;
};

struct PanelKernels {
  PanelKernel<float> f32;
  PanelKernel<PlainHalf> halves;
  PanelKernel<bf16> pairs;
};

// Bits of MXCSR: subnormal inputs and results are 0, as in the bf16 instructions.
inline constexpr unsigned int kFlushSubnormals = 0x8040;

// `isa` must run on this CPU.
PanelKernels panel_kernels(Isa isa);

}  // namespace grpo::kernels
