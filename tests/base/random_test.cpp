#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace grpo::inline GRPO_ABI {
namespace {

// From Random123's kat_vectors, philox4x32 with 10 rounds.
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32_10({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The mapping is frozen: these values may never change.
TEST(Random, TheMappingIsFrozen) {
  const RandomAddress address = {.stage = 1, .step = 2, .row = 3, .occurrence = 4, .sample = 5, .position = 6};
  const PhiloxCounter a = philox4x32_10({2, 0, 3, 0}, {42, 7});
  const PhiloxCounter b = philox4x32_10({4, 0, 1, 0}, {a[0], a[1]});
  const PhiloxCounter c = philox4x32_10({6, 0, 5, 0}, {b[0] ^ a[2], b[1] ^ a[3]});
  const std::uint64_t seed = 42 | std::uint64_t{7} << 32;
  EXPECT_EQ(random_bits(seed, address), c[0] | std::uint64_t{c[1]} << 32);
  EXPECT_EQ(random_bits(42, address), 13387994118528104998u);
  EXPECT_EQ(uniform(42, address), static_cast<double>(13387994118528104998u >> 11) / 9007199254740992.0);
  EXPECT_EQ(permutation(8, 42, 0), (std::vector<std::int64_t>{2, 5, 1, 3, 4, 7, 0, 6}));
}

TEST(Random, EveryPartOfTheAddressCounts) {
  const RandomAddress base;
  std::set<std::uint64_t> seen = {random_bits(1, base), random_bits(2, base), random_bits(1 | 1ull << 32, base)};
  for (const std::uint64_t value : {std::uint64_t{1}, std::uint64_t{1} << 32}) {
    RandomAddress address = base;
    address.step = value, seen.insert(random_bits(1, address)), address = base;
    address.row = value, seen.insert(random_bits(1, address)), address = base;
    address.occurrence = value, seen.insert(random_bits(1, address)), address = base;
    address.sample = value, seen.insert(random_bits(1, address)), address = base;
    address.position = value, seen.insert(random_bits(1, address));
  }
  RandomAddress other = base;
  other.stage = 2;
  seen.insert(random_bits(1, other));
  EXPECT_EQ(seen.size(), 3u + 10u + 1u);
}

TEST(Random, ASequenceEqualsItsSingleDraws) {
  RandomAddress address = {.stage = 9, .step = 1, .row = 77, .occurrence = 1, .sample = 3};
  const RandomSequence sequence(5, address);
  for (std::uint64_t position : {0ull, 1ull, 1000ull, 1ull << 40}) {
    address.position = position;
    EXPECT_EQ(sequence.bits_at(position), random_bits(5, address));
    EXPECT_EQ(sequence.at(position), uniform(5, address));
  }
}

TEST(Random, UniformFillsTheUnitInterval) {
  constexpr int kDraws = 100000, kBins = 100;
  std::vector<int> bins(kBins);
  const RandomSequence sequence(3, {});
  for (int i = 0; i < kDraws; ++i) {
    const double u = sequence.at(static_cast<std::uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<std::size_t>(u * kBins)];
  }
  double chi2 = 0;
  for (const int count : bins) chi2 += (count - 1000.0) * (count - 1000.0) / 1000.0;
  // 99 degrees of freedom: mean 99, standard deviation 14; a fixed seed, so this passes or fails for good.
  EXPECT_GT(chi2, 99 - 4 * 14);
  EXPECT_LT(chi2, 99 + 4 * 14);
}

TEST(Random, PermutationsAreWholeAndEven) {
  std::map<std::vector<std::int64_t>, int> counts;
  constexpr int kDraws = 24000;
  for (int stream = 0; stream < kDraws; ++stream) {
    auto order = permutation(4, 11, static_cast<std::uint64_t>(stream));
    ++counts[order];
    std::sort(order.begin(), order.end());
    ASSERT_EQ(order, (std::vector<std::int64_t>{0, 1, 2, 3}));
  }
  EXPECT_EQ(counts.size(), 24u);
  // Each of the 24 orders is expected 1,000 times with a standard deviation of 31.
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 5 * 31);
  EXPECT_TRUE(permutation(0, 1, 1).empty());
  EXPECT_NE(permutation(50, 1, 1), permutation(50, 1, 2));
  EXPECT_NE(permutation(50, 1, 1), permutation(50, 2, 1));
  EXPECT_NE(permutation(50, 1, 1), permutation(50, 1, 1, RandomStage::Minibatch));
}

TEST(Random, BelowIsWithinItsBound) {
  for (const std::uint64_t bound : {1ull, 2ull, 3ull, 1000ull, (1ull << 63) + 1}) {
    for (std::uint64_t i = 0; i < 100; ++i) EXPECT_LT(random_below(bound, 1, {.row = i}), bound);
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
