// The register-blocked products under the linear and attention kernels: C (+)= A B with B in panels of 16 columns.
//
//   A(r, k)          = a[r * a_row + k * a_k]                 any strides
//   B(k, 16 p + j)   = b[p * b_panel + 16 k + j]              float and PlainHalf
//                      b[p * b_panel + pair_offset(k) + 2 j]  bf16
//   C(r, 16 p + j)   = c[r * c_row + p * c_panel + j]         or, c_in_pairs, at pair_offset(r) + 2 j of panel p
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
  bf16* rounded = nullptr;  // instead of c, with its strides, if set
  std::int64_t c_row = 0, c_panel = 16;
  bool c_in_pairs = false;  // whole panels
  bool accumulate = false;  // sums start from C instead of 0
};

// How a kernel for bf16 panels takes A. In all of them `a` counts 32-bit units.
enum class PairForm {
  Fp32,  // as above
  // two bf16: A(r, k + 2) low and A(r, k) high at a[((k/32 * tiles + t) * 16 + k%32 / 2 + k%2) * pad + i], k%4 = 0 or
  // 1, where r is row i of tile t and pad = word_pad(rows of the first tile)
  Words,
  Rows,  // two bf16: A(r, k) low and A(r, k + 1) high at a[r * a_row + k/2], k even
};

constexpr int word_pad(std::int64_t rows) { return rows <= 4 ? 4 : 8; }

// First row of tile t, where `rows` are cut into tiles: the first ones have one row more if they do not come out even.
constexpr std::int64_t tile_begin(std::int64_t rows, std::int64_t tiles, std::int64_t t) {
  const std::int64_t more = rows % tiles;
  return rows / tiles * t + (t < more ? t : more);
}

template <class B>
struct PanelKernel {
  void (*run)(const PanelProduct<B>&);
  int max_rows;                      // in one call
  int unit_rows;                     // of a share that keeps the registers full
  int (*panels)(std::int64_t rows);  // that a call with this many rows reads side by side
  PairForm form = PairForm::Fp32;
  std::int64_t (*tiles)(std::int64_t rows) = nullptr;  // of the Words form, at most 8 rows each
  bool any_c = false;                                  // takes `c_in_pairs` and `rounded`
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
