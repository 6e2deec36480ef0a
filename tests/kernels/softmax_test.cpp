#include "kernels/softmax.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/kernel_test.h"
#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const std::vector<std::int64_t> kSizes = {1, 15, 16, 1023, 1024, 1025, 151936};

struct NamedRow {
  const char* name;
  std::vector<float> logits;
};

std::vector<NamedRow> rows_of(std::int64_t n) {
  Numbers numbers(static_cast<std::uint64_t>(n));
  std::vector<NamedRow> rows;
  rows.push_back({"normal", numbers.normal_floats(n, 3)});
  rows.push_back({"one at 80", numbers.normal_floats(n)});
  rows.back().logits[n / 2] = 80;
  rows.push_back({"banned", numbers.normal_floats(n, 2)});
  for (std::int64_t i = 0; i < n; ++i) {
    if (i % 3 != 0) rows.back().logits[i] = -kInf;
  }
  rows.push_back({"one-hot", std::vector<float>(n, -100)});
  rows.back().logits[n - 1] = 100;
  rows.push_back({"only one allowed", std::vector<float>(n, -kInf)});
  rows.back().logits[n - 1] = -3;
  rows.push_back({"equal", std::vector<float>(n, 1.25f)});
  rows.push_back({"wide", numbers.normal_floats(n, 40)});
  return rows;
}

struct Reference {
  double max = -kInf, sum = 0, weighted = 0;  // weighted: of e d, d = z - max
  double sum_error = 0, weighted_error = 0;
  double log_sum() const { return std::log(sum); }
  double entropy() const { return log_sum() - weighted / sum; }
  double log_sum_error() const { return sum_error / sum; }
  double entropy_error() const {
    return log_sum_error() + weighted_error / sum + std::abs(weighted) / sum * log_sum_error() + 1e-14;
  }
};

// In double on the fp32 z. Bounds, to first order with a tenth on top: d is rounded once, exp within 2 ulp, a lane has
// kVocabChunk / 16 additions and the tree 4; what exp cuts off is below 2^-149 an entry.
Reference reference(const std::vector<float>& logits, float inv_temperature) {
  Reference r;
  for (const float x : logits) r.max = std::max<double>(r.max, x * inv_temperature);
  const double adding = (kVocabChunk / 16 + 5) * kUnit;
  for (const float x : logits) {
    const double d = static_cast<double>(x * inv_temperature) - r.max;
    if (d == -kInf) continue;
    const double e = std::exp(d), relative = 1.1 * (kUnit * std::abs(d) + kExpError + adding);
    r.sum += e;
    r.weighted += e * d;
    r.sum_error += e * relative + 0x1p-149;
    r.weighted_error += e * std::abs(d) * (relative + 2 * kUnit) + 0x1p-149 * std::abs(d);
  }
  return r;
}

std::vector<ChunkStats> stats_of(const std::vector<float>& logits, float inv_temperature, Isa isa,
                                 const Team& team = {}) {
  const std::int64_t n = static_cast<std::int64_t>(logits.size()), chunks = (n + kVocabChunk - 1) / kVocabChunk;
  std::vector<ChunkStats> stats(chunks);
  chunk_stats(logits.data(), 1, n, n, inv_temperature, stats.data(), chunks, isa, team);
  return stats;
}

TEST(Exp, StaysWithinTwoUlp) {
  constexpr std::uint32_t kStep = 641;  // prime, so that all low bits occur
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x42d00000u; bits += kStep) {  // up to 104
    for (const std::uint32_t sign : {0u, 0x80000000u}) x.push_back(std::bit_cast<float>(bits | sign));
  }
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  std::vector<float> y(n), other(n);
  vector_kernels(Isa::Scalar).exp(x.data(), 1, 0, n, y.data());
  double worst = 0, worst_subnormal = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    if (exact >= 0x1.fffffep127) {
      if (x[i] >= 89) {
        EXPECT_EQ(y[i], kInf) << x[i];
      }
    } else if (exact < 0x1p-126) {
      worst_subnormal = std::max(worst_subnormal, std::abs(y[i] - exact) * 0x1p149);
    } else {
      const double ulp = std::exp2(std::floor(std::log2(exact)) - 23);
      worst = std::max(worst, std::abs(y[i] - exact) / ulp);
    }
  }
  EXPECT_LT(worst, 2);
  EXPECT_LT(worst_subnormal, 2);
  for (const Isa isa : isas_here()) {
    vector_kernels(isa).exp(x.data(), 1, 0, n, other.data());
    EXPECT_TRUE(same_bits(y, other)) << name(isa);
  }
}

TEST(Exp, HandlesTheEnds) {
  const auto exp_of = [](float x) {
    float y;
    vector_scalar.exp(&x, 1, 0, 1, &y);
    return y;
  };
  EXPECT_EQ(exp_of(0), 1);
  EXPECT_EQ(exp_of(-0.0f), 1);
  EXPECT_EQ(exp_of(-kInf), 0);
  EXPECT_EQ(exp_of(std::nextafter(-104.0f, -kInf)), 0);
  EXPECT_EQ(exp_of(-1e30f), 0);
  EXPECT_EQ(exp_of(-103), 0x1p-149f);
  EXPECT_EQ(exp_of(kInf), kInf);
  EXPECT_EQ(exp_of(89), kInf);
  EXPECT_LT(exp_of(88.7f), kInf);
  EXPECT_TRUE(std::isnan(exp_of(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp_of(-std::numeric_limits<float>::quiet_NaN())));
}

TEST(SoftmaxStats, MatchDoubleWithinDerivedBounds) {
  for (const std::int64_t n : kSizes) {
    for (const NamedRow& row : rows_of(n)) {
      for (const float inv_temperature : {1.0f, inverse_temperature(0.7)}) {
        const Reference want = reference(row.logits, inv_temperature);
        for (const Isa isa : isas_here()) {
          const std::vector<ChunkStats> chunks = stats_of(row.logits, inv_temperature, isa);
          const RowStats got = merge_stats(chunks.data(), static_cast<std::int64_t>(chunks.size()));
          const std::string where = std::string(row.name) + " n " + std::to_string(n) + " " + name(isa);
          EXPECT_EQ(got.max, want.max) << where;
          EXPECT_NEAR(got.log_sum, want.log_sum(), want.log_sum_error()) << where;
          EXPECT_NEAR(got.entropy, want.entropy(), want.entropy_error()) << where;
          for (std::int64_t i = 0; i < n; i += 1 + n / 100) {
            const double lp = static_cast<double>(row.logits[i] * inv_temperature) - want.max - want.log_sum();
            const float computed = logprob(row.logits[i], inv_temperature, got);
            if (lp == -kInf) {
              EXPECT_EQ(computed, -kInf) << where;
            } else {
              EXPECT_NEAR(computed, lp, want.log_sum_error() + kUnit * std::abs(lp) + 1e-14) << where << " entry " << i;
            }
          }
        }
      }
    }
  }
}

TEST(SoftmaxStats, AreTheSameBitsEverywhere) {
  for (const std::int64_t n : kSizes) {
    for (const NamedRow& row : rows_of(n)) {
      const std::vector<ChunkStats> want = stats_of(row.logits, 0.8f, Isa::Scalar);
      for (const Isa isa : isas_here()) {
        for (const int threads : {1, 2, 3}) {
          EXPECT_TRUE(same_bits(want, stats_of(row.logits, 0.8f, isa, thread_team(threads))))
              << row.name << n << name(isa);
        }
        // In two calls, cut at a chunk boundary, as a part of a wider row.
        const std::int64_t cut = std::min(n, 3 * kVocabChunk);
        std::vector<ChunkStats> parts(want.size());
        chunk_stats(row.logits.data(), 1, cut, n, 0.8f, parts.data(), 1000, isa, Team{});
        if (cut < n) chunk_stats(row.logits.data() + cut, 1, n - cut, n, 0.8f, parts.data() + 3, 1000, isa, Team{});
        EXPECT_TRUE(same_bits(want, parts)) << row.name << n << name(isa);
      }
    }
  }
}

TEST(SoftmaxStats, RowsDoNotMeet) {
  constexpr std::int64_t kRows = 5, kN = 2500, kStride = 2600, kChunks = 3;
  Numbers numbers(1);
  const std::vector<float> logits = numbers.normal_floats(kRows * kStride);
  std::vector<ChunkStats> all(kRows * kChunks);
  chunk_stats(logits.data(), kRows, kN, kStride, 1, all.data(), kChunks, best_isa(), thread_team(3));
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::vector<float> one(logits.begin() + r * kStride, logits.begin() + r * kStride + kN);
    const std::vector<ChunkStats> got(all.begin() + r * kChunks, all.begin() + (r + 1) * kChunks);
    EXPECT_TRUE(same_bits(stats_of(one, 1, best_isa()), got));
  }
}

// Whatever the temperature, z is the same fp32 product in statistics and log-prob.
TEST(SoftmaxStats, OnlyEntryIsCertain) {
  for (const double temperature : {0.3, 0.7, 1.0, 1.1, 1.9}) {
    for (const float logit : {3.3f, -0.1f, 80.7f}) {
      const float inv_temperature = inverse_temperature(temperature);
      const std::vector<ChunkStats> chunks = stats_of({logit}, inv_temperature, best_isa());
      const RowStats row = merge_stats(chunks.data(), 1);
      EXPECT_EQ(logprob(logit, inv_temperature, row), 0);
      EXPECT_EQ(row.entropy, 0);
    }
  }
}

TEST(SoftmaxStats, ShowNan) {
  for (const Isa isa : isas_here()) {
    for (const std::int64_t place : {0, 7, 1024, 1500}) {
      for (const float others : {0.0f, -kInf}) {
        std::vector<float> logits(1501, others);
        logits[place] = std::numeric_limits<float>::quiet_NaN();
        const std::vector<ChunkStats> chunks = stats_of(logits, 1, isa);
        EXPECT_TRUE(std::isnan(merge_stats(chunks.data(), 2).log_sum)) << name(isa) << place;
        // Beside a chunk that outweighs the NaN's.
        if (place < kVocabChunk) continue;
        std::fill_n(logits.begin(), kVocabChunk, 1000.0f);
        const std::vector<ChunkStats> above = stats_of(logits, 1, isa);
        EXPECT_TRUE(std::isnan(merge_stats(above.data(), 2).log_sum)) << name(isa) << place;
      }
    }
  }
}

struct Loss {
  double inv_temperature, grad_logprob, grad_entropy;
  std::int32_t target;
};

// g_lp log p_target + g_h H in double.
double loss_of(const std::vector<double>& logits, const Loss& loss) {
  double max = -kInf, sum = 0, weighted = 0;
  for (const double x : logits) max = std::max(max, x * loss.inv_temperature);
  for (const double x : logits) sum += std::exp(x * loss.inv_temperature - max);
  for (const double x : logits) weighted += std::exp(x * loss.inv_temperature - max) * (x * loss.inv_temperature - max);
  const double log_sum = std::log(sum);
  return loss.grad_logprob * (logits[loss.target] * loss.inv_temperature - max - log_sum) +
         loss.grad_entropy * (log_sum - weighted / sum);
}

struct Gradient {
  std::vector<double> value, error;
};

// The formula of softmax.h. Bounds: log p carries the roundings of d, log_sum (to fp32) and their difference and the
// error of the statistics; p that plus exp's.
Gradient gradient_of(const std::vector<float>& logits, float inv_temperature, const Loss& loss) {
  const Reference r = reference(logits, inv_temperature);
  Gradient g;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double d = static_cast<double>(logits[i] * inv_temperature) - r.max, log_p = d - r.log_sum();
    if (d == -kInf) {
      g.value.push_back(0);
      g.error.push_back(0);
      continue;
    }
    const double p = std::exp(log_p), surprise = log_p + r.entropy();
    const bool hit = static_cast<std::int32_t>(i) == loss.target;
    g.value.push_back(loss.inv_temperature *
                      (loss.grad_logprob * (hit ? 1 - p : -p) - loss.grad_entropy * p * surprise));
    const double lp_error = kUnit * (std::abs(d) + std::abs(r.log_sum()) + std::abs(log_p)) + r.log_sum_error();
    const double size = std::abs(loss.grad_logprob) + std::abs(loss.grad_entropy) * std::abs(surprise);
    const double factor_error =
        size * 4 * kUnit + std::abs(loss.grad_entropy) * (lp_error + r.entropy_error() + kUnit * std::abs(r.entropy()) +
                                                          kUnit * std::abs(surprise));
    const double error = p * (size * (lp_error + kExpError + kUnit) + factor_error);
    g.error.push_back(1.1 * loss.inv_temperature * error + 2 * kUnit * std::abs(g.value.back()) + 0x1p-140);
  }
  return g;
}

TEST(SoftmaxGrad, FormulaMatchesFiniteDifferences) {
  Numbers numbers(3);
  const std::vector<float> logits = numbers.normal_floats(9, 2);
  const Loss loss{1, 0.7, -1.3, 4};
  const Gradient g = gradient_of(logits, 1, loss);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    std::vector<double> up(logits.begin(), logits.end()), down = up;
    constexpr double kStep = 1e-5;  // third derivatives of order 1: truncation 1e-10, rounding 1e-16 / 1e-5
    up[i] += kStep;
    down[i] -= kStep;
    EXPECT_NEAR(g.value[i], (loss_of(up, loss) - loss_of(down, loss)) / (2 * kStep), 1e-9);
  }
}

TEST(SoftmaxGrad, MatchesDoubleWithinDerivedBounds) {
  for (const std::int64_t n : kSizes) {
    for (const NamedRow& row : rows_of(n)) {
      for (const bool with_entropy : {false, true}) {
        const float inv_temperature = inverse_temperature(0.7), g_lp = -1.7f, g_h = with_entropy ? 0.3f : 0;
        const std::int32_t target = static_cast<std::int32_t>(n / 2 / 3 * 3);
        const std::vector<ChunkStats> chunks = stats_of(row.logits, inv_temperature, Isa::Scalar);
        const RowStats stats = merge_stats(chunks.data(), static_cast<std::int64_t>(chunks.size()));
        const Gradient want = gradient_of(row.logits, inv_temperature, {inv_temperature, g_lp, g_h, target});
        for (const Isa isa : isas_here()) {
          std::vector<float> x = row.logits;
          softmax_grad({.logits = x.data(),
                        .rows = 1,
                        .n = n,
                        .stride = n,
                        .inv_temperature = inv_temperature,
                        .targets = &target,
                        .stats = &stats,
                        .grad_logprob = &g_lp,
                        .grad_entropy = with_entropy ? &g_h : nullptr},
                       isa, Team{});
          if (row.logits[target] == -kInf) continue;  // its log-prob has no gradient
          for (std::int64_t i = 0; i < n; ++i) {
            ASSERT_NEAR(x[i], want.value[i], want.error[i])
                << row.name << " n " << n << " entry " << i << " " << name(isa);
          }
        }
      }
    }
  }
}

TEST(SoftmaxGrad, IsTheSameBitsEverywhere) {
  constexpr std::int64_t kRows = 4, kN = 3333, kStride = 3400;
  Numbers numbers(5);
  const std::vector<float> logits = numbers.normal_floats(kRows * kStride, 3), g_lp = numbers.normal_floats(kRows);
  const std::vector<float> g_h = numbers.normal_floats(kRows);
  const std::vector<std::int32_t> targets = {0, 1024, 2047, 3332};
  std::vector<RowStats> stats;
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::vector<float> row(logits.begin() + r * kStride, logits.begin() + r * kStride + kN);
    const std::vector<ChunkStats> chunks = stats_of(row, 1, Isa::Scalar);
    stats.push_back(merge_stats(chunks.data(), 4));
  }
  const auto run = [&](Isa isa, int threads, std::int64_t cut) {
    std::vector<float> x = logits;
    SoftmaxGradArgs args{x.data(), kRows, cut, kStride, 0, 1, targets.data(), stats.data(), g_lp.data(), g_h.data()};
    softmax_grad(args, isa, thread_team(threads));
    args.logits += cut;
    args.n = kN - cut;
    args.first = cut;
    softmax_grad(args, isa, thread_team(threads));
    return x;
  };
  const std::vector<float> want = run(Isa::Scalar, 1, kN);
  for (const Isa isa : isas_here()) {
    for (const int threads : {1, 2, 3}) {
      for (const std::int64_t cut : {kN, 1024L, 2048L, 1000L}) EXPECT_TRUE(same_bits(want, run(isa, threads, cut)));
    }
  }
}

}  // namespace
}  // namespace grpo::kernels
