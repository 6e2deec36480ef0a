// Cache blocking of one product C[rows, columns] (+)= A B on top of kernels/panel.h. Runs of k continue each other
// through C, so they leave no trace in the result.
//
// A Source says what the three matrices are:
//   Element, rows, columns, inner   float or bf16 (what panels of B hold), and the sizes
//   copy(row, rows, tiles, k, count, pad, form, product&)
//                                   sets product.a, a_row, a_k to rows of A, cut evenly into tiles, usually copied to
//                                   scratch; returns the units from tile to tile
//   panels(first, num, k, count, stride&)
//                                   panels of B, copied or (kInPlace) where they stand
//   continues                       B is best copied in parts, and C can be summed on after `store`
//   target(block, from_zero, any_c, one_run), store(block, target)
//                                   C, in place or in scratch until `store`; any_c: in place may mean rounded or in
//                                   pairs
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "kernels/linear_tiles.h"
#include "kernels/panel.h"
#include "kernels/threads.h"

namespace grpo::kernels::blocks {

// A buffer of this thread: grows, is never given back, and stays valid until the next call with the same slot.
enum class Slot { A, B, C };
float* scratch(Slot slot, std::int64_t floats);

struct Block {
  std::int64_t row = 0, rows = 0, column = 0, columns = 0;
};

struct Target {
  float* c = nullptr;
  std::int64_t c_row = 0, c_panel = kPanel;
  bool accumulate = false, in_pairs = false;
  bf16* rounded = nullptr;  // instead of c
};

inline constexpr std::int64_t kMostStripRows = 128;  // of A copied at once, for all panels of a block
inline constexpr std::int64_t kInner = 1536;         // k of A copied at once
inline constexpr std::int64_t kBlockColumns = 2048;  // of C, which a strip writes once for each kInner
inline constexpr std::int64_t kCopiedInner = 2048, kCopiedBytes = std::int64_t{1} << 23;  // of B in scratch

inline const PanelKernel<float>& panel_kernel(const PanelKernels& kernels, float) { return kernels.f32; }
inline const PanelKernel<bf16>& panel_kernel(const PanelKernels& kernels, bf16) { return kernels.pairs; }

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// A strip of rows by all columns of a block, over one run of k. Panels are read side by side from places far apart,
// each place walking on in memory, so that few rows read weights as several long streams.
template <class Source>
void multiply_strip(const Source& source, const PanelKernel<typename Source::Element>& kernel, const Block& strip,
                    const typename Source::Element* panels, std::int64_t b_panel, const Target& target, std::int64_t k,
                    std::int64_t count) {
  using B = typename Source::Element;
  const std::int64_t num_panels = ceil_div(strip.columns, kPanel), whole = strip.columns / kPanel;
  const std::int64_t calls = ceil_div(strip.rows, kernel.max_rows), call_rows = ceil_div(strip.rows, calls);
  const bool in_words = kernel.form == PairForm::Words;
  const std::int64_t tiles = in_words ? kernel.tiles(strip.rows) : calls;
  const std::int64_t tile_rows = ceil_div(strip.rows, tiles),
                     pad = in_words ? word_pad(tile_rows) : ceil_to(tile_rows, 4);
  PanelProduct<B> product;
  const std::int64_t a_tile = source.copy(strip.row, strip.rows, tiles, k, count, pad, kernel.form, product);
  const int group = kernel.panels(call_rows);
  const std::int64_t apart = whole / group;
  product.inner = padded<B>(count);
  product.c_row = target.c_row;
  product.c_in_pairs = target.in_pairs;
  product.accumulate = target.accumulate;
  const float* a = product.a;
  const auto walk = [&](std::int64_t panel, std::int64_t num, std::int64_t step, std::int64_t columns) {
    product.b = panels + panel * b_panel;
    product.b_panel = step * b_panel;
    product.c_panel = step * target.c_panel;
    product.columns = std::min(num * kPanel, columns);
    for (std::int64_t call = 0; call < calls; ++call) {
      const std::int64_t at = tile_begin(strip.rows, calls, call);
      product.rows = tile_begin(strip.rows, calls, call + 1) - at;
      product.a = a + call * a_tile;
      const std::int64_t c = at * target.c_row + panel * target.c_panel;
      if (target.rounded != nullptr) {
        product.rounded = target.rounded + c;
      } else {
        product.c = target.c + c;
      }
      kernel.run(product);
    }
  };
  for (std::int64_t i = 0; i < apart; ++i) walk(i, group, apart, group * kPanel);
  const std::int64_t done = apart * group;
  if (done < num_panels) walk(done, num_panels - done, 1, strip.columns - done * kPanel);
}

// Few rows read panels that stand in memory from end to end, after one copy of A.
template <class B>
bool few_rows(const PanelKernel<B>& kernel, std::int64_t rows) {
  return rows <= 2 * kernel.unit_rows;
}

// The length of the parts that cut `length` evenly into as few as `most` allows, in whole units.
inline std::int64_t even_part(std::int64_t length, std::int64_t most, std::int64_t unit) {
  const std::int64_t parts = std::max<std::int64_t>(1, ceil_div(length, most));
  return ceil_to(ceil_div(length, parts), unit);
}

// The rectangle `area` of C by one thread.
template <class Source>
void multiply_area(const Source& source, const PanelKernel<typename Source::Element>& kernel, const Block& area) {
  const bool few = Source::kInPlace && few_rows(kernel, area.rows);
  const std::int64_t depth = source.continues ? even_part(source.inner, kCopiedInner, kPairBlock) : source.inner;
  const std::int64_t copied_bytes = depth * static_cast<std::int64_t>(sizeof(typename Source::Element));  // a column
  const std::int64_t most_columns =
      Source::kInPlace
          ? kBlockColumns
          : std::clamp<std::int64_t>(kCopiedBytes / std::max<std::int64_t>(1, copied_bytes), 128, kBlockColumns);
  const std::int64_t columns = few ? area.columns : even_part(area.columns, most_columns, kPanel);
  const std::int64_t unit = std::lcm<std::int64_t>(kernel.unit_rows, 4);  // whole tiles, and whole pairs of c_in_pairs
  // A call takes the whole strip of words.
  const std::int64_t most_rows =
      kernel.form == PairForm::Words ? std::min<std::int64_t>(kMostStripRows, kernel.max_rows) : kMostStripRows;
  const std::int64_t rows = most_rows / unit * unit;
  const std::int64_t run = few ? depth : even_part(depth, kInner, kPairBlock);
  for (std::int64_t column = 0; column < area.columns; column += columns) {
    Block strip{0, 0, area.column + column, std::min(columns, area.columns - column)};
    std::int64_t first = 0;
    do {  // once for no k at all
      const std::int64_t last = std::min(first + depth, source.inner);
      std::int64_t b_panel = 0;
      const auto* panels =
          source.panels(strip.column / kPanel, ceil_div(strip.columns, kPanel), first, last - first, b_panel);
      for (std::int64_t row = 0; row < area.rows; row += rows) {
        strip.row = area.row + row;
        strip.rows = std::min(rows, area.rows - row);
        Target target = source.target(strip, first == 0, kernel.any_c, run >= last - first);
        std::int64_t k = first;
        do {
          multiply_strip(source, kernel, strip, panels + kPanel * (k - first), b_panel, target, k,
                         std::min(run, last - k));
          target.accumulate = true;
        } while ((k += run) < last);
        source.store(strip, target);
      }
    } while ((first += depth) < source.inner);
  }
}

// The whole product, shared out by rows or by panels, whichever are more.
template <class Source>
void multiply(const Source& source, Isa isa, const Team& team) {
  const auto kernel = panel_kernel(panel_kernels(isa), typename Source::Element{});
  const std::int64_t rows = source.rows, columns = source.columns;
  if (rows <= 0 || columns <= 0) return;
  constexpr std::int64_t kLeastWork = 1 << 16;  // multiplications worth a thread
  const bool by_rows = rows >= columns;
  // Whole fours of rows, as the packed order of bf16 gradients wants it.
  const std::int64_t unit = by_rows ? ceil_to(kernel.unit_rows, 4) : kPanel;
  const std::int64_t unit_work = std::max<std::int64_t>(1, source.inner * unit * (by_rows ? columns : rows));
  const std::int64_t length = by_rows ? rows : columns;
  team.split(ceil_div(length, unit), ceil_div(kLeastWork, unit_work), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * unit, size = std::min(end * unit, length) - first;
    multiply_area(source, kernel, by_rows ? Block{first, size, 0, columns} : Block{0, rows, first, size});
  });
}

}  // namespace grpo::kernels::blocks
