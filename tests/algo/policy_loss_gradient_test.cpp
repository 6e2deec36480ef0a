// Finite differences of every term and option, and what may not change the loss: the cut into micro-batches and values
// behind the mask.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <grpo/algo.h>

#include "algo/loss_cases.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::all_loss_cases;
using testing::LossCase;
using testing::OwnedBatch;
using testing::random_batch;

// What the loss holds constant: old and sampler log-probs. cispo also holds its ratio, so they move along.
double moved_loss(OwnedBatch batch, const LossConfig& config, const Denominators& denominators, std::size_t i,
                  double by) {
  batch.logps[i] += by;
  if (config.loss_type == LossType::Cispo) {
    batch.old_logps[i] += by;
    batch.sampler_logps[i] += by;
  }
  return policy_loss(batch.view(), config, denominators).loss;
}

// With D(h) the central difference, (4 D(h) - D(2h)) / 3 is in error by less than the term it removes,
// |D(h) - D(2h)| / 3, plus the loss's rounding over h. A point so near a kink that this bound is wide fails.
template <class Value>
void expect_slope(const Value& value, double slope, double magnitude) {
  const double h = std::ldexp(1.0, -13);
  const auto central = [&](double step) { return (value(step) - value(-step)) / (2 * step); };
  const double near = central(h), far = central(2 * h);
  const double rounding = 256 * std::numeric_limits<double>::epsilon() * magnitude / h;
  const double tolerance = std::abs(near - far) / 3 + rounding;
  ASSERT_LT(tolerance, 1e-5 * magnitude) << "too near a kink";
  EXPECT_NEAR(slope, (4 * near - far) / 3, tolerance);
}

TEST(PolicyLossGradient, AgreesWithFiniteDifferences) {
  const OwnedBatch batch = random_batch(1);
  const Denominators denominators = batch.denominators();
  for (const LossCase& test : all_loss_cases()) {
    SCOPED_TRACE(test.name);
    const LossResult result = policy_loss(batch.view(), test.config, denominators);
    double magnitude = std::abs(result.loss);
    for (const double g : result.grad) magnitude = std::max(magnitude, std::abs(g));
    ASSERT_GT(magnitude, 0.001);
    for (std::size_t i = 0; i < batch.logps.size(); ++i) {
      SCOPED_TRACE(i);
      expect_slope([&](double by) { return moved_loss(batch, test.config, denominators, i, by); }, result.grad[i],
                   magnitude);
      if (!batch.mask[i]) {
        EXPECT_EQ(result.grad[i], 0);
      }
    }
    for (std::size_t i = 0; i < result.entropy_grad.size(); ++i) {
      const auto value = [&](double by) {
        OwnedBatch moved = batch;
        moved.entropies[i] += by;
        return policy_loss(moved.view(), test.config, denominators).loss;
      };
      expect_slope(value, result.entropy_grad[i], magnitude);
    }
  }
}

// On policy the old log-probs are the log-probs, held constant: an explicit copy says the same.
TEST(PolicyLossGradient, AbsentOldLogProbsAreADetachedCopy) {
  OwnedBatch batch = random_batch(2);
  batch.old_logps = batch.logps;
  OwnedBatch absent = batch;
  absent.old_logps.clear();
  for (const LossCase& test : all_loss_cases()) {
    SCOPED_TRACE(test.name);
    const LossResult a = policy_loss(batch.view(), test.config, batch.denominators());
    const LossResult b = policy_loss(absent.view(), test.config, batch.denominators());
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.grad, b.grad);
  }
}

// Every one of the cuts of five completions. Gradients are the same bits; sums differ by the order of their additions.
TEST(PolicyLossInvariance, AnyCutIntoMicroBatchesGivesTheSame) {
  const OwnedBatch batch = random_batch(3);
  const Denominators denominators = batch.denominators();
  const std::size_t count = batch.offsets.size() - 1;
  for (const LossCase& test : all_loss_cases()) {
    SCOPED_TRACE(test.name);
    const LossResult whole = policy_loss(batch.view(), test.config, denominators);
    for (unsigned cuts = 0; cuts < 1u << (count - 1); ++cuts) {
      SCOPED_TRACE(cuts);
      double loss = 0, size = 0;
      std::vector<double> grad, entropy_grad;
      std::map<std::string, double> sums;
      for (std::size_t first = 0, last = 1; last <= count; ++last) {
        if (last < count && !(cuts >> (last - 1) & 1)) continue;
        const OwnedBatch part = batch.part(first, last);
        const LossResult result = policy_loss(part.view(), test.config, denominators);
        loss += result.loss;
        size += std::abs(result.loss);
        grad.insert(grad.end(), result.grad.begin(), result.grad.end());
        entropy_grad.insert(entropy_grad.end(), result.entropy_grad.begin(), result.entropy_grad.end());
        add_loss_sums(sums, result.sums);
        first = last;
      }
      // Terms of a completion are below 10 (loss) and 100 (sums); there are 21 of each.
      const double rounding = 21 * std::numeric_limits<double>::epsilon();
      EXPECT_NEAR(loss, whole.loss, rounding * (size + 10));
      EXPECT_EQ(grad, whole.grad);
      EXPECT_EQ(entropy_grad, whole.entropy_grad);
      const auto metrics = finish_loss_metrics(sums), expected = finish_loss_metrics(whole.sums);
      ASSERT_EQ(metrics.size(), expected.size());
      for (const auto& [name, value] : expected) EXPECT_NEAR(metrics.at(name), value, 100 * rounding) << name;
    }
  }
}

TEST(PolicyLossInvariance, MinAndMaxOfPartsAreThoseOfTheWhole) {
  std::map<std::string, double> sums;
  add_loss_sums(sums, {{"min:ratio", 0.5}, {"max:ratio", 2}, {"kl", 1}, {"tokens", 2}});
  add_loss_sums(sums, {{"min:ratio", 0.25}, {"max:ratio", 1.5}, {"kl", 3}, {"tokens", 6}});
  const auto metrics = finish_loss_metrics(sums);
  EXPECT_EQ(metrics.at("ratio/min"), 0.25);
  EXPECT_EQ(metrics.at("ratio/max"), 2);
  EXPECT_EQ(metrics.at("kl"), 0.5);
}

TEST(PolicyLossInvariance, NothingBehindTheMaskIsRead) {
  const OwnedBatch batch = random_batch(4);
  OwnedBatch garbage = batch;
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < batch.mask.size(); ++i) {
    if (batch.mask[i]) continue;
    garbage.logps[i] = nan;
    garbage.old_logps[i] = -infinity;
    garbage.ref_logps[i] = infinity;
    garbage.sampler_logps[i] = nan;
    garbage.entropies[i] = nan;
    garbage.advantages[i] = 1e300;
  }
  for (const LossCase& test : all_loss_cases()) {
    SCOPED_TRACE(test.name);
    const LossResult clean = policy_loss(batch.view(), test.config, batch.denominators());
    const LossResult dirty = policy_loss(garbage.view(), test.config, batch.denominators());
    EXPECT_EQ(clean.loss, dirty.loss);
    EXPECT_EQ(clean.grad, dirty.grad);
    EXPECT_EQ(clean.entropy_grad, dirty.entropy_grad);
    EXPECT_EQ(clean.sums, dirty.sums);
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
