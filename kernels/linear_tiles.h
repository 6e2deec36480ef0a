// Copies of operands in the form that kernels/panel.h reads best: A in tiles [k][pad], one line or less per k, and B in
// panels [k][16], widened to fp32; or pairs of bf16, in the forms that PairForm names. A pad is a multiple of 4; rows
// beyond the tile's hold copies of others, or nothing that is read. `padded_inner` is a multiple of 32; what lies
// beyond `inner` is 0.
#pragma once

#include <cstdint>

#include "kernels/linear.h"
#include "kernels/types.h"

namespace grpo::kernels::blocks {

// k that a product of elements B reads for `count`, and that a packed weight of B holds: whole blocks of the BF16
// order.
template <class B>
constexpr std::int64_t padded(std::int64_t count) {
  return sizeof(B) == sizeof(float) ? count : ceil_to(count, kPairBlock);
}

template <class T>
struct Matrix {
  const T* at = nullptr;
  std::int64_t stride = 0;
};

// to[k][r] = x(row + r, k0 + k) for k < inner, 0 for inner <= k < padded_inner.
template <class T>
void tile_of_rows(Matrix<T> x, std::int64_t rows, std::int64_t inner, std::int64_t padded_inner, std::int64_t pad,
                  float* to);

// to[k][c] = x(k, c) for k < inner; columns [columns, available) exist in x and may be read.
template <class T>
void tile_of_columns(Matrix<T> x, std::int64_t columns, std::int64_t available, std::int64_t inner, std::int64_t pad,
                     float* to);

// The same matrices for PairForm::Words, pad 4 or 8: in each block of 32 k [16][pad] units, `block` from one to the
// next,
void words_of_rows(Matrix<bf16> x, std::int64_t rows, std::int64_t inner, std::int64_t padded_inner, std::int64_t pad,
                   std::int64_t block, float* to);
void words_of_columns(Matrix<bf16> x, std::int64_t columns, std::int64_t available, std::int64_t inner,
                      std::int64_t padded_inner, std::int64_t pad, std::int64_t block, float* to);
// and for PairForm::Rows, [rows or columns][padded_inner / 2] units.
void rows_of_rows(Matrix<bf16> x, std::int64_t rows, std::int64_t inner, std::int64_t padded_inner, float* to);
void rows_of_columns(Matrix<bf16> x, std::int64_t columns, std::int64_t inner, std::int64_t padded_inner, float* to);

// to[k][j] = x(k, j) for j < columns, 0 up to 16: one panel.
template <class T>
void panel_of_columns(Matrix<T> x, std::int64_t columns, std::int64_t inner, float* to);

// One panel of the transposed weight: to[n][j] = W(first + n, 16 panel + j) for n < count; 0 where 16 panel + j >= in.
// `weight` is packed in the order of its type; first is a multiple of 16.
template <class T>
void panel_of_weight(const T* weight, std::int64_t in, std::int64_t first, std::int64_t count, std::int64_t panel,
                     float* to);

// The same panels in the BF16 order of kernels/panel.h, padded_inner k.
void pair_panel_of_columns(Matrix<bf16> x, std::int64_t columns, std::int64_t inner, std::int64_t padded_inner,
                           bf16* to);
void pair_panel_of_weight(const bf16* weight, std::int64_t in, std::int64_t first, std::int64_t count,
                          std::int64_t padded_inner, std::int64_t panel, bf16* to);

}  // namespace grpo::kernels::blocks
