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
constexpr std::int64_t kMostRows = 112;      // whose words and sums stay in the cache beside the panels
constexpr std::int64_t kPrefetchLines = 48;  // ahead in each panel
constexpr int kFollowedRows = 2;             // with so few the hardware fetches ahead better without being asked

constexpr int max_panels(int rows) { return rows == 3 || rows == 4 ? 3 : 2; }

// Inlined at once: GCC takes a function that only prefetches for one without effect, and drops calls of it.
[[gnu::always_inline]] inline void prefetch_line(const bf16* b) {
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
// `Ahead`: lines of each panel that are asked for at a step. `Pad`: words from one step of `a` to the next.
template <int R, int P, int Ahead, int Pad>
[[gnu::always_inline]] inline void chains(const float* a, Source from, float* sums) {
  __m512 even[R][P], odd[R][P];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) even[r][p] = odd[r][p] = _mm512_setzero_ps();
  for (int s = 0; s < kSteps; ++s, a += 2 * Pad, from.b += 4 * kPanel, from.ahead += Ahead * 2 * kPanel) {
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
      for (int p = 0; p < P; ++p) odd[r][p] = add_pairs(odd[r][p], line[p], a[Pad + r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      float* sum = sums + (r * P + p) * kPanel;
      _mm512_store_ps(sum, _mm512_add_ps(_mm512_load_ps(sum), _mm512_add_ps(even[r][p], odd[r][p])));
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

// A group of panels, and of C what it makes.
struct Group {
  const PanelProduct<bf16>& g;
  const bf16* b;
  int panels;
  std::int64_t at;     // where its columns begin in c
  std::int64_t width;  // columns
  float* sums;         // [rows][panels][16], apart from c, whose rows may compete for the same places of the cache
};

__m512i twice(int first) {
  return _mm512_add_epi32(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), _mm512_set1_epi32(first));
}

__m512i every_other(int first) {
  return _mm512_add_epi32(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
                          _mm512_set1_epi32(first));
}

// The part of C that R rows by P panels make, from `row` on.
template <int R, int P>
struct Rows {
  const PanelProduct<bf16>& g;
  std::int64_t at, row;
  __mmask16 last;  // columns of the last panel

  Rows(const Group& group, std::int64_t first)
      : g(group.g),
        at(group.at),
        row(first),
        last(static_cast<__mmask16>((2 << (group.width - (P - 1) * kPanel - 1)) - 1)) {}

  std::int64_t place(int r, int p) const { return at + (row + r) * g.c_row + p * g.c_panel; }
  // In pairs, a row has every other float of two lines.
  float* pairs(int r, int p) const {
    return g.c + at + p * g.c_panel + 4 * kPanel * ((row + r) / 4) + 2 * kPanel * ((row + r) % 2);
  }
  bool is_high(int r) const { return (row + r) % 4 < 2; }

  template <class F>
  static void each(const F& f) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) f(r, p, (r * P + p) * kPanel);
  }

  void read(float* sums) const {
    each([&](int r, int p, int sum) {
      const float* from = g.c + place(r, p);
      _mm512_store_ps(sums + sum, p == P - 1 ? _mm512_maskz_loadu_ps(last, from) : _mm512_loadu_ps(from));
    });
  }
  void read_pairs(float* sums) const {
    each([&](int r, int p, int sum) {
      const float* from = pairs(r, p);
      _mm512_store_ps(sums + sum, _mm512_permutex2var_ps(_mm512_loadu_ps(from), every_other(is_high(r)),
                                                         _mm512_loadu_ps(from + kPanel)));
    });
  }
  static void zero(float* sums) {
    each([&](int, int, int sum) { _mm512_store_ps(sums + sum, _mm512_setzero_ps()); });
  }

  void write(const float* sums) const {
    each([&](int r, int p, int sum) { _mm512_storeu_ps(g.c + place(r, p), _mm512_load_ps(sums + sum)); });
  }
  void write_part(const float* sums) const {
    each([&](int r, int p, int sum) {
      _mm512_mask_storeu_ps(g.c + place(r, p), p == P - 1 ? last : 0xffff, _mm512_load_ps(sums + sum));
    });
  }
  void write_rounded(const float* sums) const {
    each([&](int r, int p, int sum) {
      const auto sixteen = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_load_ps(sums + sum)));
      bf16* line = g.rounded + place(r, p);
      if (p == P - 1 && last != 0xffff) {
        _mm256_mask_storeu_epi16(line, last, sixteen);
      } else {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(line), sixteen);
      }
    });
  }
  void write_pairs(const float* sums) const {
    each([&](int r, int p, int sum) {
      const __m512 x = _mm512_load_ps(sums + sum);
      float* to = pairs(r, p);
      const auto mask = static_cast<__mmask16>(is_high(r) ? 0xaaaa : 0x5555);
      _mm512_mask_storeu_ps(to, mask, _mm512_maskz_permutexvar_ps(0xffff, twice(0), x));
      _mm512_mask_storeu_ps(to + kPanel, mask, _mm512_maskz_permutexvar_ps(0xffff, twice(8), x));
    });
  }
};

template <int R, int P>
void begin(const Group& group, std::int64_t row, float* sums) {
  const Rows<R, P> rows(group, row);
  if (!group.g.accumulate) return rows.zero(sums);
  group.g.c_in_pairs ? rows.read_pairs(sums) : rows.read(sums);
}

template <int R, int P>
void end(const Group& group, std::int64_t row, const float* sums) {
  const Rows<R, P> rows(group, row);
  if (group.g.rounded != nullptr) return rows.write_rounded(sums);
  if (group.g.c_in_pairs) return rows.write_pairs(sums);
  rows.last == 0xffff ? rows.write(sums) : rows.write_part(sums);
}

// One block, at k, of tiles [t, last) of R rows each, the first from `row` on; `a` is the block of all tiles. C is read
// in the first block and written in the last, tile by tile, which hides the time of its cache misses.
template <int R, int P, int Ahead, int Pad>
[[gnu::always_inline]] inline void tiles_of(const Group& group, std::int64_t t, std::int64_t last, std::int64_t row,
                                            std::int64_t k, const float* a, const Source& from) {
  const std::int64_t inner = group.g.inner;
  float* sums = group.sums + row * P * kPanel;
  a += t * kPairBlock / 2 * Pad;
  for (; t < last; ++t, row += R, a += kPairBlock / 2 * Pad, sums += R * P * kPanel) {
    if (k == 0) begin<R, P>(group, row, sums);
    chains<R, P, Ahead, Pad>(a, from, sums);
    if (k + kPairBlock >= inner) end<R, P>(group, row, sums);
  }
}

template <int R, int P>
void one_tile(const Group& group) {
  constexpr int kPad = word_pad(R);
  const PanelProduct<bf16>& g = group.g;
  const float* a = g.a;
  const bf16* block = group.b;
  for (std::int64_t k = 0; k < g.inner; k += kPairBlock, a += kPairBlock / 2 * kPad, block += kPairBlock * kPanel)
    tiles_of<R, P, (R > kFollowedRows ? 2 : 0), kPad>(group, 0, 1, 0, k, a, {block, g.b_panel, block});
}

// The first `whole` tiles have R rows, the others one less. Each block of weights is read once and serves all of them.
template <int R, int P>
void many_tiles(const Group& group, std::int64_t tiles, std::int64_t whole) {
  constexpr int kPad = word_pad(R);
  const PanelProduct<bf16>& g = group.g;
  const float* a = g.a;
  const bf16* block = group.b;
  const std::int64_t rest = whole > 2 ? whole : 2;
  for (std::int64_t k = 0; k < g.inner;
       k += kPairBlock, a += tiles * kPairBlock / 2 * kPad, block += kPairBlock * kPanel) {
    // The first two tiles share the asking, so that it does not come in one burst.
    const Source first{block, g.b_panel, block}, second{block, g.b_panel, block + kPairBlock * kPanel / 2};
    tiles_of<R, P, 1, kPad>(group, 0, 1, 0, k, a, first);
    if (whole > 1) {
      tiles_of<R, P, 1, kPad>(group, 1, 2, R, k, a, second);
      tiles_of<R, P, 0, kPad>(group, 2, whole, 2 * R, k, a, first);
    } else {
      tiles_of<R - 1, P, 1, kPad>(group, 1, 2, R, k, a, second);
    }
    tiles_of<R - 1, P, 0, kPad>(group, rest, tiles, rest * (R - 1) + whole, k, a, first);
  }
}

// Tiles of at most `rows` rows; two or more have at least 4.
template <int R, int P>
void rows_of(const Group& group, int rows, std::int64_t tiles) {
  if constexpr (R > 1) {
    if (rows < R) return rows_of<R - 1, max_panels(R - 1)>(group, rows, tiles);
  }
  if constexpr (P > 1) {
    if (group.panels < P) return rows_of<R, P - 1>(group, rows, tiles);
  }
  if constexpr (R >= 4) {
    if (tiles > 1) return many_tiles<R, P>(group, tiles, group.g.rows - tiles * (R - 1));
  }
  one_tile<R, P>(group);
}

void product(const PanelProduct<bf16>& g) {
  for (std::int64_t r = 0; g.inner == 0 && !g.accumulate && r < g.rows; ++r)
    for (std::int64_t n = 0; n < g.columns; ++n) {
      const std::int64_t at = r * g.c_row + n / kPanel * g.c_panel + n % kPanel;
      if (g.rounded != nullptr) {
        g.rounded[at].bits = 0;
      } else {
        g.c[at] = 0;
      }
    }
  if (g.rows == 0 || g.inner == 0) return;
  const unsigned int mode = _mm_getcsr();
  _mm_setcsr(mode | kFlushSubnormals);
  alignas(64) float sums[kMostRows * 2 * kPanel];  // up to 16 rows only have more than 2 panels
  const std::int64_t tiles = num_tiles(g.rows);
  const int rows = static_cast<int>((g.rows + tiles - 1) / tiles), most = max_panels(rows);
  for (std::int64_t column = 0; column < g.columns; column += most * kPanel) {
    const std::int64_t p = column / kPanel, left = g.columns - column;
    const std::int64_t width = left < most * kPanel ? left : most * kPanel;
    const int panels = static_cast<int>((width + kPanel - 1) / kPanel);
    rows_of<kMaxRows, max_panels(kMaxRows)>({g, g.b + p * g.b_panel, panels, p * g.c_panel, width, sums}, rows, tiles);
  }
  _mm_setcsr(mode);
}

}  // namespace

extern const PanelKernel<bf16> pairs_avx512bf16;
const PanelKernel<bf16> pairs_avx512bf16 = {product,         kMostRows, 2 * kMaxRows, panels_of,
                                            PairForm::Words, num_tiles, true};

}  // namespace grpo::kernels
