// bf16 products with vdpbf16ps. The instruction adds two products of bf16 pairs to each fp32 sum, one after the other,
// each with one rounding, that of the high halves first; subnormals count as 0. A line of a panel is thus two steps of
// the even chain of kernels/linear.h, and the next one two of the odd chain. GCC 12 takes the undefined
// pass-through operands inside its own intrinsics for uninitialised variables (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/panel_tables.h"

namespace grpo::kernels {
namespace {

constexpr int kSteps = kPairBlock / 4;       // instructions of one chain
constexpr int kMaxRows = 7;                  // x 2 panels x 2 chains = 28 of the 32 registers
constexpr std::int64_t kMostRows = 126;      // whose words and sums stay in the cache beside the panels
constexpr std::int64_t kPrefetchLines = 48;  // ahead in each panel
constexpr int kFollowedRows = 2;             // with so few the hardware fetches ahead better without being asked

constexpr int max_panels(int rows) { return rows == 3 || rows == 4 ? 3 : 2; }

void prefetch_line(const bf16* b) {
  const auto ahead = reinterpret_cast<std::uintptr_t>(b) + 64 * kPrefetchLines;
  _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T0);
}

__m512 add_pairs(__m512 sum, __m512i b, float a) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(b), reinterpret_cast<__m512bh>(_mm512_set1_ps(a)));
}

// A block of some panels, and the lines of it from which on a tile asks for those ahead.
struct Source {
  const bf16* b = nullptr;
  std::int64_t panel = 0;  // stride
  const bf16* ahead = nullptr;
};

// sums[r][p] += even chain + odd chain, over one block of k; sums are [R][P][16], which wait in the nearest cache.
// `Ahead`: lines of each panel that are asked for at a step.
template <int R, int P, int Ahead>
void chains(const float* a, std::int64_t a_step, Source from, float* sums) {
  __m512 even[R][P], odd[R][P];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) even[r][p] = odd[r][p] = _mm512_setzero_ps();
  for (int s = 0; s < kSteps; ++s, a += 2 * a_step, from.b += 4 * kPanel, from.ahead += Ahead * 2 * kPanel) {
    __m512i line[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
      for (int i = 0; i < Ahead; ++i) prefetch_line(from.ahead + p * from.panel + i * 2 * kPanel);
      line[p] = _mm512_loadu_si512(from.b + p * from.panel);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) even[r][p] = add_pairs(even[r][p], line[p], a[r]);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) line[p] = _mm512_loadu_si512(from.b + p * from.panel + 2 * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) odd[r][p] = add_pairs(odd[r][p], line[p], a[a_step + r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      float* sum = sums + (r * P + p) * kPanel;
      _mm512_store_ps(sum, _mm512_add_ps(_mm512_load_ps(sum), _mm512_add_ps(even[r][p], odd[r][p])));
    }
}

template <int R, int P, int Ahead>
void chains_of_panels(int panels, const float* a, std::int64_t a_step, const Source& from, float* sums) {
  if (panels == P) {
    chains<R, P, Ahead>(a, a_step, from, sums);
  } else if constexpr (P > 1) {
    chains_of_panels<R, P - 1, Ahead>(panels, a, a_step, from, sums);
  }
}

template <int R, int Ahead>
void chains_of(int rows, int panels, const float* a, std::int64_t a_step, const Source& from, float* sums) {
  if (rows == R) {
    chains_of_panels<R, max_panels(R), Ahead>(panels, a, a_step, from, sums);
  } else if constexpr (R > 1) {
    chains_of<R - 1, Ahead>(rows, panels, a, a_step, from, sums);
  }
}

// Few rows in fours leave registers for a third panel.
std::int64_t num_tiles(std::int64_t rows) {
  const std::int64_t most = rows <= 16 && rows % 4 == 0 ? 4 : kMaxRows;
  return (rows + most - 1) / most;
}

int panels_of(std::int64_t rows) {
  const std::int64_t tiles = num_tiles(rows);
  return max_panels(static_cast<int>((rows + tiles - 1) / tiles));
}

// Those of panel p that are among `width` columns.
__mmask16 columns(std::int64_t width, int p) {
  const std::int64_t left = width - p * kPanel;
  return static_cast<__mmask16>(left >= kPanel ? 0xffff : (1 << left) - 1);
}

// All rows over up to 3 panels: each block of weights is read once and serves every row. `width`: columns of c.
void rows_of(const PanelProduct<bf16>& g, const bf16* b, int panels, float* c, std::int64_t width) {
  const std::int64_t tiles = num_tiles(g.rows);
  // Apart from c, whose rows may compete for the same places of the cache. Up to 16 rows only have more than 2 panels.
  alignas(64) float sums[kMostRows * 2 * kPanel];
  for (std::int64_t r = 0; r < g.rows; ++r) {
    for (int p = 0; p < panels; ++p) {
      const float* from = c + r * g.c_row + p * g.c_panel;
      _mm512_store_ps(sums + (r * panels + p) * kPanel,
                      g.accumulate ? _mm512_maskz_loadu_ps(columns(width, p), from) : _mm512_setzero_ps());
    }
  }
  for (std::int64_t k = 0; k < g.inner; k += kPairBlock) {
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t row = g.rows * t / tiles;
      const int rows = static_cast<int>(g.rows * (t + 1) / tiles - row);
      const float* a = g.a + k / 2 * g.a_k + row;
      float* tile_sums = sums + row * panels * kPanel;
      // The first two tiles share the asking, so that it does not come in one burst.
      const bf16* block = b + k * kPanel;
      const Source from{block, g.b_panel, t == 1 ? block + kPairBlock * kPanel / 2 : block};
      if (tiles == 1 && rows > kFollowedRows) {
        chains_of<kMaxRows, 2>(rows, panels, a, g.a_k, from, tile_sums);
      } else if (tiles > 1 && t < 2) {
        chains_of<kMaxRows, 1>(rows, panels, a, g.a_k, from, tile_sums);
      } else {
        chains_of<kMaxRows, 0>(rows, panels, a, g.a_k, from, tile_sums);
      }
    }
  }
  for (std::int64_t r = 0; r < g.rows; ++r)
    for (int p = 0; p < panels; ++p)
      _mm512_mask_storeu_ps(c + r * g.c_row + p * g.c_panel, columns(width, p),
                            _mm512_load_ps(sums + (r * panels + p) * kPanel));
}

void product(const PanelProduct<bf16>& g) {
  if (g.rows == 0) return;
  const unsigned int mode = _mm_getcsr();
  _mm_setcsr(mode | kFlushSubnormals);
  const int group = panels_of(g.rows);
  for (std::int64_t column = 0; column < g.columns; column += group * kPanel) {
    const std::int64_t p = column / kPanel, left = g.columns - column;
    const std::int64_t width = left < group * kPanel ? left : group * kPanel;
    rows_of(g, g.b + p * g.b_panel, static_cast<int>((width + kPanel - 1) / kPanel), g.c + p * g.c_panel, width);
  }
  _mm_setcsr(mode);
}

}  // namespace

extern const PanelKernel<bf16> pairs_avx512bf16;
const PanelKernel<bf16> pairs_avx512bf16 = {product, kMostRows, 2 * kMaxRows, panels_of, PairForm::Words};

}  // namespace grpo::kernels
