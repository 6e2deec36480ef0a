// Cache blocking of one product C[rows, columns] (+)= A B on top of kernels/panel.h. Blocks cut every sum over k into
// runs that continue each other through C, so they leave no trace in the result.
//
// A Source says what the three matrices are:
//   Element, rows, columns, inner   float or bf16 (what panels of B hold), and the sizes
//   copy(row, rows, tiles, k, count, pad, form, product&)
//                                   sets product.a, a_row, a_k to rows of A, cut evenly into tiles, usually copied to
//                                   scratch; returns the units from tile to tile
//   panels(first, num, k, count, stride&)
//                                   B, copied or (kInPlace) where it stands
//   staged, target(block), store(block, target)
//                                   C, in place or (staged) in scratch until `store`
#pragma once

#include <algorithm>
#include <cstdint>

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
  bool accumulate = false;
};

inline constexpr std::int64_t kBlockRows = 512, kBlockColumns = 512;  // of C, while B's panels and C stay in the caches
inline constexpr std::int64_t kTileRows = 126;                        // rows of A copied at once
inline constexpr std::int64_t kInner = 1024;                          // k at once

inline const PanelKernel<float>& panel_kernel(const PanelKernels& kernels, float) { return kernels.f32; }
inline const PanelKernel<bf16>& panel_kernel(const PanelKernels& kernels, bf16) { return kernels.pairs; }

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// All columns of a block for one tile-high row strip after another, over one run of k. Panels are read side by side
// from places far apart, each place walking on in memory, so that few rows read weights as several long streams.
template <class Source>
void multiply_panels(const Source& source, const PanelKernel<typename Source::Element>& kernel, const Block& block,
                     const Target& target, std::int64_t k, std::int64_t count) {
  using B = typename Source::Element;
  std::int64_t b_panel = 0;
  const std::int64_t num_panels = ceil_div(block.columns, kPanel);
  const B* panels = source.panels(block.column / kPanel, num_panels, k, count, b_panel);
  const std::int64_t whole = block.columns / kPanel;
  for (std::int64_t row = 0; row < block.rows;) {
    // Rows are shared out evenly among the copies, and a copy's among its tiles.
    const std::int64_t copies = ceil_div(block.rows - row, kTileRows);
    const std::int64_t rows = ceil_div(block.rows - row, copies), tiles = ceil_div(rows, kernel.max_rows);
    const std::int64_t pad = ceil_to(ceil_div(rows, tiles), 4);
    PanelProduct<B> tile;
    const std::int64_t tile_floats = source.copy(block.row + row, rows, tiles, k, count, pad, kernel.form, tile);
    const int group = kernel.panels(ceil_div(rows, tiles));
    const std::int64_t apart = whole / group;
    tile.inner = padded<B>(count);
    tile.c_row = target.c_row;
    tile.accumulate = target.accumulate;
    const float* a = tile.a;
    const auto walk = [&](std::int64_t panel, std::int64_t num, std::int64_t step, std::int64_t columns) {
      tile.b = panels + panel * b_panel;
      tile.b_panel = step * b_panel;
      tile.c_panel = step * target.c_panel;
      tile.columns = std::min(num * kPanel, columns);
      for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t at = rows * t / tiles;
        tile.rows = rows * (t + 1) / tiles - at;
        tile.a = a + t * tile_floats;
        tile.c = target.c + (row + at) * target.c_row + panel * target.c_panel;
        kernel.run(tile);
      }
    };
    for (std::int64_t i = 0; i < apart; ++i) walk(i, group, apart, group * kPanel);
    const std::int64_t done = apart * group;
    if (done < num_panels) walk(done, num_panels - done, 1, block.columns - done * kPanel);
    row += rows;
  }
}

// Few rows read panels that stand in memory from end to end, after one copy of A.
template <class B>
bool few_rows(const PanelKernel<B>& kernel, std::int64_t rows) {
  return rows <= std::min<std::int64_t>(2 * kernel.unit_rows, kTileRows);
}

// The rectangle `area` of C by one thread.
template <class Source>
void multiply_area(const Source& source, const PanelKernel<typename Source::Element>& kernel, const Block& area) {
  const bool few = Source::kInPlace && few_rows(kernel, area.rows);
  const std::int64_t block_columns = few ? area.columns : kBlockColumns;
  const std::int64_t runs = few ? 1 : std::max<std::int64_t>(1, ceil_div(source.inner, kInner));
  const std::int64_t run = ceil_to(ceil_div(source.inner, runs), 32);  // whole blocks of either packed order
  for (std::int64_t row = 0; row < area.rows; row += kBlockRows) {
    for (std::int64_t column = 0; column < area.columns; column += block_columns) {
      const Block block{area.row + row, std::min(kBlockRows, area.rows - row), area.column + column,
                        std::min(block_columns, area.columns - column)};
      Target target = source.target(block);
      for (std::int64_t i = 0; i < runs; ++i) {
        const std::int64_t k = i * run;
        multiply_panels(source, kernel, block, target, k, std::max<std::int64_t>(0, std::min(run, source.inner - k)));
        target.accumulate = true;
      }
      source.store(block, target);
    }
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
