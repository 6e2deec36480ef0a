// The tile kernel over an emulation of the tile registers, so that its addresses and its order are tested on every
// machine. On one with AMX, linear_test.cpp and linear_grad_test.cpp run it for real.
#include <gtest/gtest.h>

#include "kernels/linear.h"
#include "kernels/linear_cases.h"
#include "kernels/linear_tiles.h"
#include "kernels/panel.h"

namespace grpo::kernels {
namespace {

struct Tile {
  int rows = 0;
  std::uint32_t words[16][16] = {};  // a row is 64 bytes
};
Tile tile[8];

float widened(std::uint32_t high_bits) { return std::bit_cast<float>(high_bits << 16); }

void configure(int rows0, int rows1) {
  for (const int t : {0, 1, 4}) tile[t].rows = rows0;
  for (const int t : {2, 3, 5}) tile[t].rows = rows1;
  for (const int t : {6, 7}) tile[t].rows = 16;
}
void release() {
  for (Tile& t : tile) t = {};
}
template <int T>
void zero() {
  for (auto& row : tile[T].words) std::fill(std::begin(row), std::end(row), 0u);
}
template <int T>
void load(const void* p, std::int64_t stride) {
  zero<T>();
  for (int r = 0; r < tile[T].rows; ++r) std::memcpy(tile[T].words[r], static_cast<const char*>(p) + r * stride, 64);
}
template <int T>
void save(void* p, std::int64_t stride) {
  for (int r = 0; r < tile[T].rows; ++r) std::memcpy(static_cast<char*>(p) + r * stride, tile[T].words[r], 64);
}
// As measured on hardware: the low halves' chain and the high halves' from 0, added, then added to C.
template <int C, int A, int B>
void multiply() {
  for (int m = 0; m < tile[C].rows; ++m) {
    for (int n = 0; n < 16; ++n) {
      float low = 0, high = 0;
      for (int k = 0; k < 16; ++k) {
        const std::uint32_t a = tile[A].words[m][k], b = tile[B].words[k][n];
        low = std::fma(widened(a & 0xffff), widened(b & 0xffff), low);
        high = std::fma(widened(a >> 16), widened(b >> 16), high);
      }
      tile[C].words[m][n] = std::bit_cast<std::uint32_t>(std::bit_cast<float>(tile[C].words[m][n]) + (low + high));
    }
  }
}

#include "kernels/linear_amx.inc"

TEST(LinearAmx, EmulatedTilesGiveTheReferencesBits) {
  constexpr std::int64_t kInner = 32 * 18, kARow = kInner / 2 + 8;  // blocks of two turns
  for (const std::int64_t rows : {1, 5, 16, 17, 32, 37, 128}) {
    for (const std::int64_t columns : {3, 16, 32, 48, 70}) {
      for (const bool accumulate : {false, true}) {
        const std::int64_t panels = (columns + 15) / 16, width = columns + 3;
        Floats a = kernels::widened(halves(random_floats(rows * kInner, 1)));
        const Halves b = halves(random_floats(panels * kInner * kPanel + 4096, 2));  // tiles are fetched ahead
        const Floats start = random_floats(rows * width, 3);
        Halves a_halves(static_cast<std::size_t>(rows * 2 * kARow));
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t k = 0; k < kInner; ++k)
            a_halves[static_cast<std::size_t>(r * 2 * kARow + k)] =
                to_bf16(a[static_cast<std::size_t>(r * kInner + k)]);

        Floats want = start, got = start;
        PanelProduct<bf16> g{.a = a.data(),
                             .a_row = kInner,
                             .rows = rows,
                             .inner = kInner,
                             .b = b.data(),
                             .b_panel = kInner * kPanel,
                             .columns = columns,
                             .c = want.data(),
                             .c_row = width,
                             .accumulate = accumulate};
        panel_kernels(Isa::Scalar).pairs.run(g);
        g.a = reinterpret_cast<const float*>(a_halves.data());
        g.a_row = kARow;
        g.c = got.data();
        product(g);
        expect_same_bits(got, want, std::to_string(rows) + " rows, " + std::to_string(columns) + " columns");
      }
    }
  }
}

// A in the tiles' form: rows of pairs, zero from `inner` on.
TEST(LinearAmx, RowsAndColumnsAreCopiedInPairs) {
  constexpr std::int64_t kStride = 40;
  const Halves x = halves(random_floats(80 * kStride, 4));
  for (const std::int64_t inner : {1, 7, 8, 32, 33}) {
    for (const std::int64_t count : {1, 5, 8, 19}) {
      const std::int64_t padded = (inner + 31) / 32 * 32;
      Floats rows(static_cast<std::size_t>(count * padded / 2)), columns = rows;
      blocks::rows_of_rows({x.data(), kStride}, count, std::min(inner, kStride), padded, rows.data());
      blocks::rows_of_columns({x.data(), kStride}, count, inner, padded, columns.data());
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t k = 0; k < padded; ++k) {
          const auto half = [&](const Floats& copy) {
            const auto word = std::bit_cast<std::uint32_t>(copy[static_cast<std::size_t>((r * padded + k) / 2)]);
            return static_cast<std::uint16_t>(k % 2 == 0 ? word : word >> 16);
          };
          const auto at = [&](std::int64_t row, std::int64_t column) {
            return k < inner ? x[static_cast<std::size_t>(row * kStride + column)].bits : std::uint16_t{0};
          };
          ASSERT_EQ(half(rows), at(r, k)) << inner << " k, row " << r << ", k " << k;
          ASSERT_EQ(half(columns), at(k, r)) << inner << " k, column " << r << ", k " << k;
        }
      }
    }
  }
}

}  // namespace
}  // namespace grpo::kernels
