// Packed orders, rounding to bf16.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/linear.h"
#include "kernels/linear_cases.h"

namespace grpo::kernels {
namespace {

// The formulas of kernels/linear.h.
std::int64_t formula(Type order, std::int64_t in, std::int64_t n, std::int64_t k) {
  const std::int64_t in32 = (in + 31) / 32 * 32;
  return order == Type::F32 ? n / 16 * (16 * in) + 16 * k + n % 16
                            : n / 16 * (16 * in32) + 64 * (k / 4) + 32 * (k % 2) + 2 * (n % 16) + (k % 4 < 2);
}

TEST(Pack, FollowsTheFormulaAndPadsWithZeros) {
  for (const Type order : {Type::F32, Type::BF16}) {
    for (const std::int64_t out : {1, 16, 17, 40}) {
      for (const std::int64_t in : {1, 31, 32, 33, 70}) {
        const Floats rows = random_floats(out * in, 3);
        const std::int64_t panels = (out + 15) / 16, in32 = (in + 31) / 32 * 32;
        ASSERT_EQ(packed_elements(order, out, in), panels * 16 * (order == Type::F32 ? in : in32));
        Floats expected(static_cast<std::size_t>(packed_elements(order, out, in)), 0.0f);
        for (std::int64_t n = 0; n < out; ++n) {
          for (std::int64_t k = 0; k < in; ++k) {
            ASSERT_EQ(packed_index(order, in, n, k), formula(order, in, n, k));
            expected[static_cast<std::size_t>(formula(order, in, n, k))] = rows[static_cast<std::size_t>(n * in + k)];
          }
        }
        for (const int size : {1, 3}) {
          Floats to(expected.size(), kMark), back(rows.size(), kMark);
          pack(order, rows.data(), out, in, to.data(), thread_team(size));
          expect_same_bits(to, expected, "pack");
          unpack(order, to.data(), out, in, back.data(), thread_team(size));
          expect_same_bits(back, rows, "unpack");
        }
      }
    }
  }
}

TEST(RoundToBf16, TiesGoToEvenAndNanStays) {
  const auto f = [](std::uint32_t u) { return std::bit_cast<float>(u); };
  const std::vector<std::pair<std::uint32_t, std::uint32_t>> cases = {
      {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0x3f817fff, 0x3f81},
      {0xbf808001, 0xbf81}, {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80},
      {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0xffc12345, 0xffc1}, {0x00008000, 0x0000}, {0x00018000, 0x0002}};
  for (const auto& [in, out] : cases) {
    const Halves to = halves(Floats(11, f(in)));  // a whole vector and a rest
    for (const bf16 x : to) EXPECT_EQ(x.bits, out) << std::hex << in;
  }
}

TEST(RoundToBf16, NearestOfBothNeighboursOnManyValues) {
  const Floats from = random_floats(100001, 5);
  Halves to(from.size());
  round_to_bf16(from.data(), to.data(), static_cast<std::int64_t>(from.size()), thread_team(3));
  for (std::size_t i = 0; i < from.size(); ++i) {
    const double error = std::abs(static_cast<double>(to_float(to[i])) - static_cast<double>(from[i]));
    for (const int step : {-1, 1}) {
      const bf16 other{static_cast<std::uint16_t>(to[i].bits + step)};
      ASSERT_LE(error, std::abs(static_cast<double>(to_float(other)) - static_cast<double>(from[i]))) << from[i];
    }
  }
}

}  // namespace
}  // namespace grpo::kernels
