// The register-blocked products under the linear and attention kernels: C (+)= A B with B in panels of 16 columns.
//
//   A(r, k)          = a[r * a_row + k * a_k]                 any strides
//   B(k, 16 p + j)   = b[p * b_panel + 16 k + j]              float
//                      b[p * b_panel + 32 (k/2) + 2 j + k%2]  bf16
//   C(r, 16 p + j)   = c[r * c_row + p * c_panel + j]
//
// Order of summation of every C(r, n), whatever the other sizes and the instruction set: the order of kernels/linear.h,
// that is one FMA chain over k ascending (float), or per 32 k an even and an odd chain (bf16).
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
  std::int64_t inner = 0;  // number of k; a multiple of 32 for bf16 (pad with zeros)
  const B* b = nullptr;
  std::int64_t b_panel = 0;
  std::int64_t columns = 0;  // b has ceil(columns / 16) whole panels; c is touched in `columns` columns only
  float* c = nullptr;
  std::int64_t c_row = 0, c_panel = 16;
  bool accumulate = false;  // sums start from C instead of 0
};

struct PanelKernels {
  void (*f32)(const PanelProduct<float>&);
  void (*pairs)(const PanelProduct<bf16>&);
  // Rows that one pass over b serves: more rows are cut into tiles of at most that many.
  int f32_rows, pairs_rows;
  // Panels that such a pass reads side by side, when a tile has this many rows.
  int (*f32_panels)(std::int64_t tile_rows);
  int (*pairs_panels)(std::int64_t tile_rows);
};

// `isa` must run on this CPU.
const PanelKernels& panel_kernels(Isa isa);

}  // namespace grpo::kernels
