// Data and teams for the tests of kernels/linear.h.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel_test.h"
#include "kernels/linear.h"

namespace grpo::kernels {

using Floats = std::vector<float>;
using Halves = std::vector<bf16>;

inline Floats random_floats(std::int64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Floats x(static_cast<std::size_t>(n));
  for (float& value : x) value = normal(generator);
  return x;
}

inline Halves halves(const Floats& x) {
  Halves to(x.size());
  round_to_bf16(x.data(), to.data(), static_cast<std::int64_t>(x.size()), {});
  return to;
}

inline Floats widened(const Halves& x) {
  Floats to;
  for (const bf16 value : x) to.push_back(to_float(value));
  return to;
}

inline Floats packed(Type order, const Floats& row_major, std::int64_t out, std::int64_t in) {
  Floats to(static_cast<std::size_t>(packed_elements(order, out, in)));
  pack(order, row_major.data(), out, in, to.data(), {});
  return to;
}

inline std::uint32_t bits(float x) {
  // All NaNs count as one: which payload survives is the processor's choice.
  return std::isnan(x) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(x);
}

inline void expect_same_bits(const Floats& got, const Floats& expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(bits(got[i]), bits(expected[i]))
        << what << " at " << i << ": got " << got[i] << ", expected " << expected[i];
}

struct Shape {
  std::int64_t rows, in, out, first, last;
  std::string text() const {
    return std::to_string(rows) + " x " + std::to_string(in) + " -> [" + std::to_string(first) + ", " +
           std::to_string(last) + ") of " + std::to_string(out);
  }
};

// One, odd, whole and broken panels and tiles, slabs; then past every block of the implementation.
inline std::vector<Shape> small_shapes() {
  return {{1, 1, 1, 0, 1},      {1, 16, 16, 0, 16},   {2, 3, 5, 0, 5},     {5, 31, 33, 0, 33},   {7, 32, 48, 16, 48},
          {13, 33, 17, 16, 17}, {16, 40, 64, 32, 50}, {17, 65, 80, 0, 80}, {29, 7, 100, 48, 99}, {70, 64, 37, 0, 37},
          {3, 1, 40, 16, 32},   {0, 8, 16, 0, 16},    {4, 8, 16, 16, 16}};
}
inline std::vector<Shape> large_shapes() {
  return {{530, 20, 550, 16, 550}, {40, 2070, 50, 0, 50},   {6, 1600, 600, 0, 600},
          {2100, 50, 40, 0, 40},   {30, 20, 2100, 0, 2100}, {31, 545, 521, 0, 521}};
}

// A matrix with a gap after each row, filled with a mark that must survive.
inline constexpr float kMark = -77.5f;
inline constexpr std::int64_t kGap = 3;

inline Floats with_gaps(const Floats& x, std::int64_t rows, std::int64_t columns) {
  Floats to(static_cast<std::size_t>(rows * (columns + kGap)), kMark);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      to[static_cast<std::size_t>(r * (columns + kGap) + c)] = x[static_cast<std::size_t>(r * columns + c)];
  return to;
}

}  // namespace grpo::kernels
