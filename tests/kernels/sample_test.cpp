#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "kernels/kernel_test.h"
#include "kernels/softmax.h"

namespace grpo::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr double kLastUniform = 1 - 0x1p-53;

RowStats row_stats(const std::vector<float>& logits, float inv_temperature) {
  const std::int64_t n = static_cast<std::int64_t>(logits.size()), chunks = (n + kVocabChunk - 1) / kVocabChunk;
  std::vector<ChunkStats> stats(chunks);
  chunk_stats(logits.data(), 1, n, n, inv_temperature, stats.data(), chunks, best_isa(), Team{});
  return merge_stats(stats.data(), chunks);
}

Draw draw_on(Isa isa, const std::vector<float>& logits, const DrawOptions& options, double u) {
  const std::int64_t n = static_cast<std::int64_t>(logits.size()), chunks = vocab_chunks(n);
  std::vector<ChunkStats> stats(static_cast<std::size_t>(chunks));
  chunk_stats(logits.data(), 1, n, n, draw_scale(options), stats.data(), chunks, isa, Team{});
  return draw(logits.data(), stats.data(), n, options, u, isa);
}
Draw draw_best(const std::vector<float>& logits, const DrawOptions& options, double u) {
  return draw_on(best_isa(), logits, options, u);
}

// The distribution that the options describe, in double, by sorting everything. z is the kernels' fp32 product, since
// ties are decided on it.
std::vector<double> distribution(const std::vector<float>& logits, const DrawOptions& options) {
  const float inv_temperature = inverse_temperature(options.temperature);
  std::vector<double> p(logits.size());
  double max = -kInf;
  for (const float x : logits) max = std::max<double>(max, x * inv_temperature);
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = std::exp(static_cast<double>(logits[i] * inv_temperature) - max);
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  std::size_t keep = order.size();
  if (options.top_k > 0) keep = std::min<std::size_t>(keep, options.top_k);
  double total = 0, sum = 0;
  for (std::size_t i = 0; i < keep; ++i) total += p[order[i]];
  if (options.top_p < 1) {
    std::size_t i = 0;
    while (i < keep && sum < options.top_p * total) sum += p[order[i++]];
    keep = std::max<std::size_t>(i, 1);
  }
  while (keep > 1 && p[order[keep - 1]] < options.min_p) --keep;
  std::vector<double> kept(p.size());
  total = 0;
  for (std::size_t i = 0; i < keep; ++i) total += p[order[i]];
  for (std::size_t i = 0; i < keep; ++i) kept[order[i]] = p[order[i]] / total;
  return kept;
}

std::vector<DrawOptions> truncations() {
  std::vector<DrawOptions> all;
  for (const float temperature : {1.0f, 0.6f}) {
    for (const std::int32_t top_k : {0, 1, 5, 100000}) {
      for (const float top_p : {1.0f, 0.9f, 0.3f, 0.0f}) {
        for (const float min_p : {0.0f, 0.05f, 1.0f}) all.push_back({temperature, top_k, top_p, min_p});
      }
    }
  }
  return all;
}

// Statistics of 64 + 5 fp32 additions and exps of 2 ulp, as in softmax_test.cpp; |d| is at most 100 here.
constexpr double kMassError = 1.1 * (100 * kUnit + kExpError + 69 * kUnit);

TEST(Draw, InvertsTheCumulativeDistribution) {
  for (const std::int64_t n : {1, 15, 16, 37, 1023, 1024, 1025, 5000}) {
    Numbers numbers(static_cast<std::uint64_t>(n));
    std::vector<float> logits = numbers.normal_floats(n, 2);
    if (n > 20) logits[n / 2] = logits[3] = -kInf;
    for (const DrawOptions& options : truncations()) {
      const std::vector<double> p = distribution(logits, options);
      for (int i = 0; i < 50; ++i) {
        const double u = numbers.uniform();
        const Draw got = draw_best(logits, options, u);
        ASSERT_GE(got.token, 0);
        ASSERT_LT(got.token, n);
        double before = 0;
        for (std::int32_t v = 0; v < got.token; ++v) before += p[v];
        ASSERT_GT(p[got.token], 0) << n << " k " << options.top_k << " p " << options.top_p << " m " << options.min_p;
        ASSERT_GE(u, before - kMassError);
        ASSERT_LE(u, before + p[got.token] + kMassError);
        ASSERT_NEAR(got.logprob, std::log(p[got.token]), kMassError + kUnit * std::abs(std::log(p[got.token])));
      }
    }
  }
}

TEST(Draw, LogprobEqualsTheTrainersBitForBit) {
  Numbers numbers(11);
  for (const std::int64_t n : {1, 1025, 151936}) {
    const std::vector<float> logits = numbers.normal_floats(n, 3);
    for (const float temperature : {1.0f, 0.7f, 1.3f}) {
      const float inv_temperature = inverse_temperature(temperature);
      const RowStats stats = row_stats(logits, inv_temperature);
      for (int i = 0; i < 20; ++i) {
        // A top_k of the whole vocabulary truncates nothing.
        const DrawOptions options{.temperature = temperature, .top_k = i % 2 == 0 ? 0 : static_cast<std::int32_t>(n)};
        const Draw got = draw_best(logits, options, numbers.uniform());
        EXPECT_EQ(std::bit_cast<std::uint32_t>(got.logprob),
                  std::bit_cast<std::uint32_t>(logprob(logits[got.token], inv_temperature, stats)));
      }
    }
  }
}

TEST(Draw, IsTheSameOnEveryInstructionSet) {
  Numbers numbers(12);
  const std::vector<float> logits = numbers.normal_floats(3001, 3);
  for (const DrawOptions& options : truncations()) {
    const double u = numbers.uniform();
    const Draw want = draw_on(Isa::Scalar, logits, options, u);
    for (const Isa isa : isas_here()) {
      const Draw got = draw_on(isa, logits, options, u);
      EXPECT_EQ(got.token, want.token) << name(isa);
      EXPECT_EQ(got.logprob, want.logprob) << name(isa);
    }
  }
}

TEST(Draw, GreedyTakesTheLowestOfTies) {
  std::vector<float> logits(3000, -1);
  logits[1500] = logits[700] = logits[2900] = 2.5f;
  const RowStats stats = row_stats(logits, 1);
  // Temperature 0 ignores the truncation and the uniform.
  for (const double u : {0.0, 0.5, kLastUniform}) {
    const Draw got = draw_best(logits, {.temperature = 0, .top_k = 7, .top_p = 0.5f, .min_p = 0.1f}, u);
    EXPECT_EQ(got.token, 700);
    EXPECT_EQ(got.logprob, logprob(2.5f, 1, stats));
  }
  EXPECT_EQ(draw_best({0.0f, -0.0f}, {.temperature = 0}, 0).token, 0);
  EXPECT_EQ(draw_best({-0.0f, 0.0f}, {.temperature = 0}, 0).token, 0);
  EXPECT_EQ(draw_best({-kInf, -5}, {.temperature = 0}, 0).token, 1);
  EXPECT_EQ(draw_best(std::vector<float>(1, 3), {.temperature = 0}, 0).logprob, 0);
}

TEST(Draw, TruncationTiesGoToTheLowestIds) {
  const std::vector<float> equal(2000, 0.5f);
  for (const double u : {0.0, 0.3, 0.7, kLastUniform}) {
    EXPECT_LT(draw_best(equal, {.top_k = 3}, u).token, 3);
    EXPECT_NEAR(draw_best(equal, {.top_k = 3}, u).logprob, -std::log(3.0), kUnit * 2);
    EXPECT_LT(draw_best(equal, {.top_p = 0.01f}, u).token, 21);
  }
  EXPECT_EQ(draw_best(equal, {.top_k = 3}, kLastUniform).token, 2);
  EXPECT_EQ(draw_best(equal, {.top_p = 0}, kLastUniform).token, 0);
}

// top_p is a part of what top_k left: of (.4 .3 .2 .1), top_k 2 leaves (4/7 3/7), and .5 needs only the first of them,
// where .5 of the whole needs both.
TEST(Draw, TopPCountsWhatTopKLeft) {
  std::vector<float> logits;
  for (const double p : {0.4, 0.3, 0.2, 0.1}) logits.push_back(static_cast<float>(std::log(p)));
  EXPECT_EQ(draw_best(logits, {.top_k = 2, .top_p = 0.5f}, kLastUniform).token, 0);
  EXPECT_EQ(draw_best(logits, {.top_p = 0.5f}, kLastUniform).token, 1);
}

TEST(Draw, NeverTakesABannedToken) {
  for (const std::int64_t n : {3, 17, 1024, 1025, 4000}) {
    for (const std::int64_t allowed : {std::int64_t{0}, n / 2, n - 1}) {
      std::vector<float> logits(n, -kInf);
      logits[allowed] = -7;
      for (const double u : {0.0, 0.5, kLastUniform}) {
        for (const DrawOptions& options : truncations()) EXPECT_EQ(draw_best(logits, options, u).token, allowed);
      }
    }
  }
  // The ends of a row whose ends are banned.
  Numbers numbers(4);
  std::vector<float> logits = numbers.normal_floats(5000);
  for (std::int64_t i = 0; i < 1100; ++i) logits[i] = logits[4999 - i] = -kInf;
  for (const DrawOptions& options : {DrawOptions{}, DrawOptions{.top_p = 0.99f}}) {
    EXPECT_GT(draw_best(logits, options, 0).logprob, -kInf);
    EXPECT_GT(draw_best(logits, options, kLastUniform).logprob, -kInf);
  }
  EXPECT_EQ(draw_best(logits, {}, 0).token, 1100);
  EXPECT_EQ(draw_best(logits, {}, kLastUniform).token, 3899);
}

// Even 1, which a caller's rounding may make of the last uniform. Rows enough for sums to round either way.
TEST(Draw, LastUniformFindsAnAllowedToken) {
  constexpr std::int64_t kN = 16 * kVocabChunk;
  for (int i = 0; i < 30; ++i) {
    Numbers numbers(1000 + static_cast<std::uint64_t>(i));
    std::vector<float> logits(kN, -kInf);
    for (std::int64_t c = 0; c < 15; ++c) logits[c * kVocabChunk + 5] = static_cast<float>(numbers.normal());
    for (const double u : {kLastUniform, 1.0}) {
      EXPECT_EQ(draw_best(logits, {}, u).token, 14 * kVocabChunk + 5) << i;
      EXPECT_EQ(draw_best(logits, {.top_k = 15}, u).token, 14 * kVocabChunk + 5) << i;
    }
  }
}

TEST(Draw, OptionsBeyondTheirRangeKeepTheLikeliest) {
  Numbers numbers(14);
  const std::vector<float> logits = numbers.normal_floats(3000);
  const std::int32_t likeliest = draw_best(logits, {.temperature = 0}, 0).token;
  EXPECT_EQ(draw_best(logits, {.top_p = -1e6f}, 0.9).token, likeliest);
  EXPECT_EQ(draw_best(logits, {.min_p = 2}, 0.9).token, likeliest);
  EXPECT_EQ(draw_best(logits, {.top_p = 0.5f, .min_p = 2}, 0.9).token, likeliest);
}

TEST(Draw, ReportsRowsThatAreNoDistribution) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const DrawOptions& options :
       {DrawOptions{}, DrawOptions{.temperature = 0}, DrawOptions{.top_k = 2}, DrawOptions{.top_p = 0.5f}}) {
    for (const Isa isa : isas_here()) {
      for (const std::vector<float>& logits :
           {std::vector<float>{1, nan, 2}, std::vector<float>{nan, -kInf}, std::vector<float>(1500, -kInf),
            std::vector<float>{1, kInf}, std::vector<float>(1, nan)}) {
        const Draw got = draw_on(isa, logits, options, 0.5);
        EXPECT_EQ(got.token, -1);
        EXPECT_TRUE(std::isnan(got.logprob));
      }
    }
  }
}

// 1e5 draws against the exact probabilities. The statistic of bins of at least 20 expected draws is nearly chi-square;
// Wilson and Hilferty's cube root makes it normal. 3.72 is passed by a right sampler once in 1e4 seeds (these are
// fixed); a token of probability 0.1 that is 7 % too likely adds 1e5 * 0.1 * 0.07^2 = 49 and fails with up to about 40
// bins.
void expect_chi_square(const std::vector<float>& logits, const DrawOptions& options, std::uint64_t seed) {
  constexpr int kDraws = 100000;
  const std::vector<double> p = distribution(logits, options);
  std::vector<int> counts(p.size());
  Numbers numbers(seed);
  for (int i = 0; i < kDraws; ++i) ++counts.at(draw_best(logits, options, numbers.uniform()).token);
  double statistic = 0, expected = 0, seen = 0, bins = 0;
  for (std::size_t v = 0; v < p.size(); ++v) {
    if (p[v] == 0) {
      EXPECT_EQ(counts[v], 0) << v;
    }
    expected += kDraws * p[v];
    seen += counts[v];
    if (expected < 20) continue;  // joined with what follows
    statistic += (seen - expected) * (seen - expected) / expected;
    expected = seen = 0;
    ++bins;
  }
  const double freedom = bins - 1, spread = 2 / (9 * freedom);
  EXPECT_LT((std::cbrt(statistic / freedom) - (1 - spread)) / std::sqrt(spread), 3.72) << statistic << " of " << bins;
}

std::vector<float> test_logits(std::int64_t n) {
  Numbers numbers(100 + static_cast<std::uint64_t>(n));
  return numbers.normal_floats(n, 1.5);
}

TEST(DrawDistribution, Plain) { expect_chi_square(test_logits(30), {}, 1); }
TEST(DrawDistribution, PlainOverChunks) { expect_chi_square(test_logits(2500), {}, 2); }
TEST(DrawDistribution, Temperature) { expect_chi_square(test_logits(30), {.temperature = 0.7f}, 3); }
TEST(DrawDistribution, HighTemperature) { expect_chi_square(test_logits(30), {.temperature = 1.5f}, 4); }
TEST(DrawDistribution, TopK) { expect_chi_square(test_logits(30), {.top_k = 10}, 5); }
TEST(DrawDistribution, TopP) { expect_chi_square(test_logits(30), {.top_p = 0.8f}, 6); }
TEST(DrawDistribution, MinP) { expect_chi_square(test_logits(30), {.min_p = 0.1f}, 7); }
TEST(DrawDistribution, All) {
  expect_chi_square(test_logits(300), {.temperature = 0.9f, .top_k = 40, .top_p = 0.95f, .min_p = 0.02f}, 8);
}

}  // namespace
}  // namespace grpo::kernels
