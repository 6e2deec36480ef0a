#include "kernels/linear.h"

#include <xmmintrin.h>

#include <algorithm>
#include <new>
#include <type_traits>

#include "kernels/linear_blocks.h"
#include "kernels/linear_tiles.h"

namespace grpo::kernels {

namespace blocks {
namespace {

struct Buffer {
  float* at = nullptr;
  std::int64_t floats = 0;
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }
  void release() {
    operator delete(at, std::align_val_t(64));
    at = nullptr;
    floats = 0;
  }
};

}  // namespace

float* scratch(Slot slot, std::int64_t floats) {
  thread_local Buffer buffers[3];
  Buffer& buffer = buffers[static_cast<int>(slot)];
  if (buffer.floats < floats) {
    buffer.release();
    const std::int64_t size = ceil_to(floats, 4096);
    buffer.at = static_cast<float*>(operator new(static_cast<std::size_t>(size) * sizeof(float), std::align_val_t(64)));
    buffer.floats = size;
  }
  return buffer.at;
}

}  // namespace blocks

namespace {

using blocks::Block;
using blocks::Matrix;
using blocks::multiply;
using blocks::scratch;
using blocks::Slot;
using blocks::Target;

template <class T>
Matrix<T> part(const void* base, std::int64_t stride, std::int64_t row, std::int64_t column) {
  return {static_cast<const T*>(base) + row * stride + column, stride};
}

using blocks::padded;

// Cuts `num` rows of A evenly into tiles and copies each to scratch in `form`: copy_tile(first row, rows, to). The
// tiles follow each other (Words: in each block of k); the result is the units from one to the next. `copied`: scratch
// holds them already.
template <class B, class CopyTile>
std::int64_t copy_tiles(std::int64_t num, std::int64_t tiles, std::int64_t inner, std::int64_t pad, PairForm form,
                        bool copied, PanelProduct<B>& product, const CopyTile& copy_tile) {
  const bool in_words = form == PairForm::Words;
  const std::int64_t tile = form == PairForm::Fp32 ? inner * pad : inner / 2 * pad;
  const std::int64_t units = in_words ? kPairBlock / 2 * pad : tile;
  float* to = scratch(Slot::A, tiles * tile);
  product.a = to;
  product.a_row = form == PairForm::Rows ? inner / 2 : 1;
  product.a_k = form == PairForm::Rows ? 1 : pad;
  for (std::int64_t t = 0; t < tiles && !copied; ++t) {
    const std::int64_t at = tile_begin(num, tiles, t);
    copy_tile(at, tile_begin(num, tiles, t + 1) - at, to + t * units);
  }
  return units;
}

// A's rows are rows of x, or (columns) columns of it. `available` columns may be read from the first on.
template <class B, class T>
std::int64_t copy_rows(Matrix<T> x, std::int64_t num, std::int64_t tiles, std::int64_t count, std::int64_t pad,
                       PairForm form, PanelProduct<B>& product, bool copied = false) {
  const std::int64_t inner = padded<B>(count), block = tiles * kPairBlock / 2 * pad;
  return copy_tiles(num, tiles, inner, pad, form, copied, product, [&](std::int64_t at, std::int64_t rows, float* to) {
    const Matrix<T> tile{x.at + at * x.stride, x.stride};
    if constexpr (sizeof(T) == sizeof(bf16)) {
      if (form == PairForm::Words) return blocks::words_of_rows(tile, rows, count, inner, pad, block, to);
      if (form == PairForm::Rows) return blocks::rows_of_rows(tile, rows, count, inner, to);
    }
    blocks::tile_of_rows(tile, rows, count, inner, pad, to);
  });
}
template <class B, class T>
std::int64_t copy_columns(Matrix<T> x, std::int64_t available, std::int64_t num, std::int64_t tiles, std::int64_t count,
                          std::int64_t pad, PairForm form, PanelProduct<B>& product) {
  const std::int64_t inner = padded<B>(count), block = tiles * kPairBlock / 2 * pad;
  return copy_tiles(num, tiles, inner, pad, form, false, product,
                    [&](std::int64_t at, std::int64_t columns, float* to) {
                      const Matrix<T> tile{x.at + at, x.stride};
                      if constexpr (sizeof(T) == sizeof(bf16)) {
                        if (form == PairForm::Words)
                          return blocks::words_of_columns(tile, columns, available - at, count, inner, pad, block, to);
                        if (form == PairForm::Rows) return blocks::rows_of_columns(tile, columns, count, inner, to);
                      }
                      blocks::tile_of_columns(tile, columns, available - at, count, pad, to);
                      std::fill(to + count * pad, to + inner * pad, 0.0f);
                    });
}

// Panels of B in scratch, in the product's element: copy_panel(panel, to).
template <class B, class CopyPanel>
const B* copy_panels(std::int64_t num, std::int64_t count, std::int64_t& stride, const CopyPanel& copy_panel) {
  stride = kPanel * padded<B>(count);
  B* to = reinterpret_cast<B*>(
      scratch(Slot::B, num * stride * static_cast<std::int64_t>(sizeof(B)) / static_cast<std::int64_t>(sizeof(float))));
  for (std::int64_t p = 0; p < num; ++p) copy_panel(p, to + p * stride);
  return to;
}

// C in scratch, in rows of whole panels.
Target staged_target(const Block& block) {
  const std::int64_t stride = ceil_to(block.columns, kPanel);
  return {scratch(Slot::C, block.rows * stride), stride, kPanel, false};
}

Target rounded_target(void* c, std::int64_t stride, const Block& block) {
  return {.c_row = stride, .rounded = static_cast<bf16*>(c) + block.row * stride + block.column};
}

Target row_major_target(void* c, std::int64_t stride, const Block& block, bool accumulate) {
  return {static_cast<float*>(c) + block.row * stride + block.column, stride, kPanel, accumulate};
}

// y = x W^T: A is x, B the packed weight where it stands. `copied`: scratch still holds the copy of the same x.
template <class T>
struct Forward {
  using Element = T;
  static constexpr bool kInPlace = true;
  const LinearArgs& args;
  bool copied = false;
  std::int64_t rows = args.rows, columns = args.last - args.first, inner = args.in;
  bool staged = args.y_type == Type::BF16, continues = false;

  std::int64_t copy(std::int64_t row, std::int64_t num, std::int64_t tiles, std::int64_t k, std::int64_t count,
                    std::int64_t pad, PairForm form, PanelProduct<T>& product) const {
    const Matrix<T> x = part<T>(args.x, args.x_stride, row, k);
    if constexpr (sizeof(T) == sizeof(float)) {
      if (num == 1) {
        product.a = x.at;
        return 0;
      }
    }
    return copy_rows(x, num, tiles, count, pad, form, product, copied);
  }

  const T* panels(std::int64_t first, std::int64_t, std::int64_t k, std::int64_t, std::int64_t& stride) const {
    stride = kPanel * padded<T>(args.in);
    return static_cast<const T*>(args.weight) + (args.first / kPanel + first) * stride + kPanel * k;
  }

  Target target(const Block& block, bool, bool any_c, bool one_run) const {
    if (!staged) return row_major_target(args.y, args.y_stride, block, false);
    return any_c && one_run && args.bias == nullptr ? rounded_target(args.y, args.y_stride, block)
                                                    : staged_target(block);
  }

  void store(const Block& block, const Target& target) const {
    if (target.rounded != nullptr || (!staged && args.bias == nullptr)) return;
    for (std::int64_t r = 0; r < block.rows; ++r) {
      float* sums = target.c + r * target.c_row;
      if (args.bias != nullptr) {
        const float* bias = args.bias + args.first + block.column;
        for (std::int64_t j = 0; j < block.columns; ++j) sums[j] += bias[j];
      }
      if (staged)
        round_to_bf16(sums, static_cast<bf16*>(args.y) + (block.row + r) * args.y_stride + block.column, block.columns,
                      {});
    }
  }
};

// The element of a product of two matrices of these types.
template <class A, class B>
using PairsIfBoth = std::conditional_t<sizeof(A) == sizeof(bf16) && sizeof(B) == sizeof(bf16), bf16, float>;

// dx = dy W: A is dy, B the weight's panels turned over.
template <class D, class W>
struct InputGrad {
  using Element = PairsIfBoth<D, W>;
  static constexpr bool kInPlace = false;
  const LinearInputGradArgs& args;
  std::int64_t rows = args.rows, columns = args.in, inner = args.last - args.first;
  bool staged = args.dx_type == Type::BF16, continues = !staged;

  std::int64_t copy(std::int64_t row, std::int64_t num, std::int64_t tiles, std::int64_t k, std::int64_t count,
                    std::int64_t pad, PairForm form, PanelProduct<Element>& product) const {
    return copy_rows(part<D>(args.dy, args.dy_stride, row, k), num, tiles, count, pad, form, product);
  }

  const Element* panels(std::int64_t first, std::int64_t num, std::int64_t k, std::int64_t count,
                        std::int64_t& stride) const {
    const auto* weight = static_cast<const W*>(args.weight);
    return copy_panels<Element>(num, count, stride, [&](std::int64_t p, Element* to) {
      if constexpr (sizeof(Element) == sizeof(bf16)) {
        blocks::pair_panel_of_weight(weight, args.in, args.first + k, count, padded<bf16>(count), first + p, to);
      } else {
        blocks::panel_of_weight(weight, args.in, args.first + k, count, first + p, to);
      }
    });
  }

  Target target(const Block& block, bool from_zero, bool any_c, bool one_run) const {
    if (!staged) return row_major_target(args.dx, args.dx_stride, block, args.accumulate || !from_zero);
    return any_c && one_run ? rounded_target(args.dx, args.dx_stride, block) : staged_target(block);
  }

  void store(const Block& block, const Target& target) const {
    if (target.rounded != nullptr || !staged) return;
    for (std::int64_t r = 0; r < block.rows; ++r)
      round_to_bf16(target.c + r * target.c_row,
                    static_cast<bf16*>(args.dx) + (block.row + r) * args.dx_stride + block.column, block.columns, {});
  }
};

// grad += dy^T x, as rows of k: A is x turned over, B panels of dy, and C the packed gradient itself (order F32), whose
// panels are [k][16], or (order BF16, whose rows come in pairs) a copy of it for kernels that do not take it so.
template <class D, class X>
struct WeightGrad {
  using Element = PairsIfBoth<D, X>;
  static constexpr bool kInPlace = false;
  const LinearWeightGradArgs& args;
  std::int64_t rows = args.in, columns = args.last - args.first, inner = args.rows;
  bool in_pairs = args.order == Type::BF16, continues = true;

  std::int64_t copy(std::int64_t row, std::int64_t num, std::int64_t tiles, std::int64_t k, std::int64_t count,
                    std::int64_t pad, PairForm form, PanelProduct<Element>& product) const {
    return copy_columns(part<X>(args.x, args.x_stride, k, row), args.in - row, num, tiles, count, pad, form, product);
  }

  const Element* panels(std::int64_t first, std::int64_t num, std::int64_t k, std::int64_t count,
                        std::int64_t& stride) const {
    return copy_panels<Element>(num, count, stride, [&](std::int64_t p, Element* to) {
      const std::int64_t column = (first + p) * kPanel;
      const Matrix<D> dy = part<D>(args.dy, args.dy_stride, k, column);
      if constexpr (sizeof(Element) == sizeof(bf16)) {
        blocks::pair_panel_of_columns(dy, columns - column, count, padded<bf16>(count), to);
      } else {
        blocks::panel_of_columns(dy, columns - column, count, to);
      }
    });
  }

  // Panel of the gradient that holds a column of the block.
  float* grad_panel(std::int64_t column) const {
    return args.grad + packed_elements(args.order, args.first + column, args.in);
  }

  Target target(const Block& block, bool, bool any_c, bool) const {
    if (!in_pairs || any_c) {
      const std::int64_t panel = packed_elements(args.order, kPanel, args.in);
      return {grad_panel(block.column) + block.row * kPanel, kPanel, panel, true, in_pairs};
    }
    Target target = staged_target(block);
    target.accumulate = true;
    move(block, target, false);
    return target;
  }

  void store(const Block& block, const Target& target) const {
    if (in_pairs && !target.in_pairs) move(block, target, true);
  }

  // The block of the gradient to its sums, or back.
  void move(const Block& block, const Target& target, bool back) const {
    for (std::int64_t column = 0; column < block.columns; column += kPanel) {
      float* pairs = grad_panel(block.column + column) + kPanel * block.row;
      float* sums = target.c + column;
      std::int64_t r = 0;
      for (; r + 4 <= block.rows; r += 4) {
        for (std::int64_t odd = 0; odd < 2; ++odd)
          move_pairs(pairs + kPanel * r + 2 * kPanel * odd, sums + (r + odd) * target.c_row,
                     sums + (r + odd + 2) * target.c_row, back);
      }
      for (; r < block.rows; ++r) {
        for (std::int64_t j = 0; j < kPanel; ++j) {
          float &in_grad = pairs[pair_offset(r) + 2 * j], &in_sums = sums[r * target.c_row + j];
          (back ? in_grad : in_sums) = back ? in_sums : in_grad;
        }
      }
    }
  }

  // 16 words of a panel and the two rows that they hold.
  static void move_pairs(float* pairs, float* high, float* low, bool back) {
    for (std::int64_t j = 0; j < kPanel; j += 4) {
      if (back) {
        const __m128 l = _mm_loadu_ps(low + j), h = _mm_loadu_ps(high + j);
        _mm_storeu_ps(pairs + 2 * j, _mm_unpacklo_ps(l, h));
        _mm_storeu_ps(pairs + 2 * j + 4, _mm_unpackhi_ps(l, h));
      } else {
        const __m128 a = _mm_loadu_ps(pairs + 2 * j), b = _mm_loadu_ps(pairs + 2 * j + 4);
        _mm_storeu_ps(low + j, _mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));
        _mm_storeu_ps(high + j, _mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
      }
    }
  }
};

template <class D>
void add_column_sums(const LinearWeightGradArgs& args, const Team& team) {
  team.split(args.last - args.first, kPanel, [&](std::int64_t begin, std::int64_t end) {
    float* sums = args.bias_grad + args.first;
    for (std::int64_t r = 0; r < args.rows; ++r) {
      const D* row = static_cast<const D*>(args.dy) + r * args.dy_stride;
      for (std::int64_t n = begin; n < end; ++n) sums[n] += to_float(row[n]);
    }
  });
}

template <class T>
void each_of(const LinearArgs* args, int count, Isa isa) {
  const PanelKernel<T> kernel = blocks::panel_kernel(panel_kernels(isa), T{});
  bool copied = false;
  for (int i = 0; i < count; ++i) {
    const Block all{0, args[i].rows, 0, args[i].last - args[i].first};
    if (all.rows <= 0 || all.columns <= 0) continue;
    multiply_area(Forward<T>{args[i], copied}, kernel, all);
    copied = blocks::few_rows(kernel, all.rows);
  }
}

}  // namespace

void linear_each(const LinearArgs* args, int count, Isa isa) {
  if (count == 0) return;
  if (args[0].type == Type::F32) {
    each_of<float>(args, count, isa);
  } else {
    each_of<bf16>(args, count, isa);
  }
}

void linear(const LinearArgs& args, Isa isa, const Team& team) {
  if (args.type == Type::F32) {
    multiply(Forward<float>{args}, isa, team);
  } else {
    multiply(Forward<bf16>{args}, isa, team);
  }
}

void linear_input_grad(const LinearInputGradArgs& args, Isa isa, const Team& team) {
  const bool wide_dy = args.dy_type == Type::F32, wide_weight = args.weight_type == Type::F32;
  if (wide_dy && wide_weight) {
    multiply(InputGrad<float, float>{args}, isa, team);
  } else if (wide_dy) {
    multiply(InputGrad<float, bf16>{args}, isa, team);
  } else if (wide_weight) {
    multiply(InputGrad<bf16, float>{args}, isa, team);
  } else {
    multiply(InputGrad<bf16, bf16>{args}, isa, team);
  }
}

void linear_weight_grad(const LinearWeightGradArgs& args, Isa isa, const Team& team) {
  const bool wide_dy = args.dy_type == Type::F32, wide_x = args.x_type == Type::F32;
  if (wide_dy && wide_x) {
    multiply(WeightGrad<float, float>{args}, isa, team);
  } else if (wide_dy) {
    multiply(WeightGrad<float, bf16>{args}, isa, team);
  } else if (wide_x) {
    multiply(WeightGrad<bf16, float>{args}, isa, team);
  } else {
    multiply(WeightGrad<bf16, bf16>{args}, isa, team);
  }
  if (args.bias_grad == nullptr) return;
  if (wide_dy) {
    add_column_sums<float>(args, team);
  } else {
    add_column_sums<bf16>(args, team);
  }
}

}  // namespace grpo::kernels
