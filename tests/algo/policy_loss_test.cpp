// Values by hand: clipping, KL estimators, every objective and ratio level on two completions of three tokens.
#include <cmath>

#include <gtest/gtest.h>

#include <grpo/algo.h>

#include "algo/loss_cases.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::loss_config;
using testing::OwnedBatch;

// Expected values below are written to ten digits.
constexpr double kDigits = 1e-9;

// Ratios 1, 1.5, 0.5 twice; advantages 1 and -2; the last token is masked.
OwnedBatch two_by_three() {
  OwnedBatch batch;
  batch.logps = {-1, -2, -0.5, -1, -2, -0.5};
  const double ratios[] = {1, 1.5, 0.5, 1, 1.5, 0.5};
  for (std::size_t i = 0; i < 6; ++i) batch.old_logps.push_back(batch.logps[i] - std::log(ratios[i]));
  batch.advantages = {1, 1, 1, -2, -2, -2};
  batch.mask = {1, 1, 1, 1, 1, 0};
  batch.offsets = {0, 3, 6};
  return batch;
}

LossResult loss_of(const OwnedBatch& batch, const LossConfig& config) {
  return policy_loss(batch.view(), config, batch.denominators());
}

void expect_loss(const LossResult& result, double loss, const std::vector<double>& grad) {
  EXPECT_NEAR(result.loss, loss, kDigits);
  ASSERT_EQ(result.grad.size(), grad.size());
  for (std::size_t i = 0; i < grad.size(); ++i) EXPECT_NEAR(result.grad[i], grad[i], kDigits) << "token " << i;
}

// One token of ratio `ratio`, old log-prob -1.
OwnedBatch one_token(double ratio, double advantage) {
  OwnedBatch batch;
  batch.logps = {-1 + std::log(ratio)};
  batch.old_logps = {-1};
  batch.advantages = {advantage};
  batch.mask = {1};
  batch.offsets = {0, 1};
  return batch;
}

TEST(PolicyLoss, EpsilonDecidesWhichTokensLoseTheirGradient) {
  for (const double epsilon : {0.2, 10.0})
    for (const double advantage : {1.0, -1.0})
      for (const double ratio : {0.01, 0.5, 1.0, 2.0, 10.9, 11.1, 50.0}) {
        LossConfig config = loss_config(LossType::Grpo);
        config.epsilon = epsilon;
        const LossResult result = loss_of(one_token(ratio, advantage), config);
        const bool is_clipped = advantage > 0 ? ratio > 1 + epsilon : ratio < 1 - epsilon;
        SCOPED_TRACE(::testing::Message() << "epsilon " << epsilon << " A " << advantage << " ratio " << ratio);
        if (is_clipped) {
          EXPECT_EQ(result.grad[0], 0);
          EXPECT_NEAR(result.loss, -advantage * (advantage > 0 ? 1 + epsilon : 1 - epsilon), kDigits);
        } else {
          EXPECT_NEAR(result.grad[0], -advantage * ratio, kDigits);
          EXPECT_NEAR(result.loss, -advantage * ratio, kDigits);
        }
        const auto metrics = finish_loss_metrics(result.sums);
        EXPECT_EQ(metrics.at("clip_ratio/high_mean"), is_clipped && advantage > 0);
        EXPECT_EQ(metrics.at("clip_ratio/low_mean"), is_clipped && advantage < 0);
        EXPECT_EQ(metrics.at("clip_ratio/region_mean"), is_clipped);
      }
}

TEST(PolicyLoss, ClipSidesMayDiffer) {
  LossConfig config = loss_config(LossType::Grpo);
  config.epsilon = 0.1;
  config.epsilon_high = 0.4;
  EXPECT_NE(loss_of(one_token(1.39, 1), config).grad[0], 0);
  EXPECT_EQ(loss_of(one_token(1.41, 1), config).grad[0], 0);
  EXPECT_NE(loss_of(one_token(0.91, -1), config).grad[0], 0);
  EXPECT_EQ(loss_of(one_token(0.89, -1), config).grad[0], 0);
}

TEST(PolicyLoss, ClipSharesOverTokensAndTheirExtremesOverCompletions) {
  OwnedBatch batch = two_by_three();
  batch.advantages.assign(6, 1);
  auto metrics = finish_loss_metrics(loss_of(batch, loss_config(LossType::Grpo)).sums);  // 1.5 in both
  EXPECT_DOUBLE_EQ(metrics.at("clip_ratio/high_mean"), 2 / 5.0);
  EXPECT_DOUBLE_EQ(metrics.at("clip_ratio/high_max"), 1 / 2.0);
  EXPECT_DOUBLE_EQ(metrics.at("clip_ratio/region_mean"), 2 / 5.0);
  batch.advantages.assign(6, -1);
  batch.mask = {1, 1, 1, 1, 0, 1};
  metrics = finish_loss_metrics(loss_of(batch, loss_config(LossType::Grpo)).sums);  // 0.5 in both
  EXPECT_DOUBLE_EQ(metrics.at("clip_ratio/low_mean"), 2 / 5.0);
  EXPECT_DOUBLE_EQ(metrics.at("clip_ratio/low_min"), 1 / 3.0);
  EXPECT_DOUBLE_EQ(metrics.at("ratio/min"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.at("ratio/max"), 1.5);
  EXPECT_DOUBLE_EQ(metrics.at("ratio/mean"), 4.5 / 5);
}

// Both bound the loss of a token that got likelier although its advantage is negative.
TEST(PolicyLoss, DeltaAndDualClipBoundNegativeAdvantages) {
  LossConfig delta = loss_config(LossType::Grpo), dual = loss_config(LossType::Grpo);
  delta.delta = 3;
  dual.dual_clip = 3;
  for (const LossConfig& config : {delta, dual}) {
    expect_loss(loss_of(one_token(2.9, -2), config), 5.8, {5.8});
    expect_loss(loss_of(one_token(3.5, -2), config), 6, {0});
    expect_loss(loss_of(one_token(0.5, -2), config), 1.6, {0});
    expect_loss(loss_of(one_token(0.5, 2), config), -1, {-1});
    expect_loss(loss_of(one_token(3.5, 2), config), -2.4, {0});
  }
}

TEST(PolicyLoss, KlEstimatorsAndTheirSlopes) {
  const std::vector<double> distance = {-1.5, -0.5, 0, 0.5, 1};
  OwnedBatch batch;
  batch.offsets = {0};
  for (const double d : distance) {  // each a completion of its own, on policy, without advantage
    batch.logps.push_back(-2);
    batch.ref_logps.push_back(-2 + d);
    batch.advantages.push_back(0);
    batch.mask.push_back(1);
    batch.offsets.push_back(batch.offsets.back() + 1);
  }
  const auto expect = [&](KlEstimator estimator, const std::vector<double>& values, const std::vector<double>& slopes) {
    LossConfig config = loss_config(LossType::Grpo, RatioLevel::Token, 1);
    config.kl_estimator = estimator;
    for (std::size_t i = 0; i < distance.size(); ++i) {
      SCOPED_TRACE(distance[i]);
      const OwnedBatch one = batch.part(i, i + 1);
      const LossResult result = loss_of(one, config);
      // The fixtures have seven digits.
      EXPECT_NEAR(result.loss, values[i], 5.1e-8);
      EXPECT_NEAR(result.grad[0], slopes[i], 5.1e-8);
      EXPECT_NEAR(finish_loss_metrics(result.sums).at("kl"), values[i], 5.1e-8);
    }
  };
  expect(KlEstimator::K3, {0.7231302, 0.1065307, 0, 0.1487213, 0.7182818},
         {0.7768698, 0.3934693, 0, -0.6487213, -1.7182818});
  expect(KlEstimator::K1, {1.5, 0.5, 0, -0.5, -1}, {1, 1, 1, 1, 1});
  expect(KlEstimator::K2, {1.125, 0.125, 0, 0.125, 0.5}, {1.5, 0.5, 0, -0.5, -1});
}

// d(ratio K)/d log pi = ratio (K + dK): with k3, ratio (-d) and with k1 the score-function form of KL's gradient.
TEST(PolicyLoss, BiasCorrectionMultipliesKlByTheLiveRatio) {
  OwnedBatch batch = one_token(1.5, 0);
  batch.ref_logps = {batch.logps[0] + 0.5};
  LossConfig config = loss_config(LossType::Grpo, RatioLevel::Token, 2);
  config.use_bias_correction_kl = true;
  expect_loss(loss_of(batch, config), 2 * 1.5 * 0.1487212707, {2 * 1.5 * -0.5});
  batch.old_logps.clear();  // on policy the ratio is 1, its slope is not 0
  expect_loss(loss_of(batch, config), 2 * 0.1487212707, {2 * -0.5});
}

TEST(PolicyLoss, TokenRatiosByHand) {
  // Sums over tokens: -2.7 for the first (1.5 is clipped to 1.2), 5 for the second (the min takes the unclipped side).
  const OwnedBatch batch = two_by_three();
  expect_loss(loss_of(batch, loss_config(LossType::Grpo)), 0.8, {-1 / 6.0, 0, -0.5 / 6, 0.5, 0.75, 0});
  for (const LossType type : {LossType::Dapo, LossType::Bnpo})
    expect_loss(loss_of(batch, loss_config(type)), 0.46, {-0.2, 0, -0.1, 0.4, 0.6, 0});
  expect_loss(loss_of(batch, loss_config(LossType::DrGrpo)), 2.3 / 18,
              {-1 / 18.0, 0, -0.5 / 18, 2 / 18.0, 3 / 18.0, 0});
}

TEST(PolicyLoss, CispoWeighsLogProbsByHand) {
  LossConfig config = loss_config(LossType::Cispo);
  config.epsilon_high = 1.25;
  const LossResult result = loss_of(two_by_three(), config);
  expect_loss(result, -0.65, {-0.2, -0.25, -0.1, 0.4, 0.5, 0});
  const auto metrics = finish_loss_metrics(result.sums);
  EXPECT_DOUBLE_EQ(metrics.at("cispo_clip_ratio"), 0.2);  // the second token; that of the other completion has A < 0
  EXPECT_FALSE(metrics.contains("clip_ratio/high_mean"));
}

TEST(PolicyLoss, SapoByHand) {
  LossConfig config = loss_config(LossType::Sapo);
  config.sapo_temperature_neg = 2;
  expect_loss(loss_of(two_by_three(), config), 0.2310585786,
              {-1 / 6.0, -0.2350037122, -0.0783345707, 0.5, 0.5898357998, 0});
}

TEST(PolicyLoss, SequenceRatiosByHand) {
  const std::vector<double> grad = {-0.1514267161, -0.1514267161, -0.1514267161, 0.6123724357, 0.6123724357, 0};
  expect_loss(loss_of(two_by_three(), loss_config(LossType::Gspo)), 0.7704647232, grad);
  expect_loss(loss_of(two_by_three(), loss_config(LossType::Grpo, RatioLevel::Sequence)), 0.7704647232, grad);
}

// As the R1 paper prints it: the product of the ratios, and one KL of the whole output, d = 1 in both.
TEST(PolicyLoss, SequenceProductByHand) {
  OwnedBatch batch = two_by_three();
  LossConfig config = loss_config(LossType::Grpo, RatioLevel::SequenceProduct);
  expect_loss(loss_of(batch, config), 1.125, {-0.375, -0.375, -0.375, 1.5, 1.5, 0});
  for (std::size_t i = 0; i < 6; ++i) batch.ref_logps.push_back(batch.logps[i] + (i < 3 ? 1 / 3.0 : 0.5));
  config.beta = 0.1;
  const double kl = 0.7182818285, slope = -1.7182818285 / 2;
  expect_loss(
      loss_of(batch, config), 1.125 + 0.1 * kl,
      {-0.375 + 0.1 * slope, -0.375 + 0.1 * slope, -0.375 + 0.1 * slope, 1.5 + 0.1 * slope, 1.5 + 0.1 * slope, 0});
  EXPECT_NEAR(finish_loss_metrics(loss_of(batch, config).sums).at("kl"), kl, kDigits);
}

// Log-ratios 0, 0.405 held at 0.3, -0.693 (kept: not the harmful side); then 0 and 0.405 (kept).
TEST(PolicyLoss, GmpoByHand) {
  LossConfig config = loss_config(LossType::Gmpo);
  config.epsilon_high = 0.3;
  const LossResult result = loss_of(two_by_three(), config);
  const double first = std::exp((0.3 + std::log(0.5)) / 3), second = std::sqrt(1.5);
  expect_loss(result, (-first + 2 * second) / 2, {-first / 6, 0, -first / 6, second / 2, second / 2, 0});
  EXPECT_DOUBLE_EQ(finish_loss_metrics(result.sums).at("clip_ratio/high_mean"), 0.2);
}

TEST(PolicyLoss, GmpoWithoutAdvantageClipsNothing) {
  const LossResult result = loss_of(one_token(0.1, 0), loss_config(LossType::Gmpo));
  EXPECT_EQ(result.loss, 0);
  EXPECT_EQ(finish_loss_metrics(result.sums).at("clip_ratio/low_mean"), 0);
}

TEST(PolicyLoss, OnPolicyTheRatioIsOneAndTheGradientIsNot) {
  OwnedBatch batch = two_by_three();
  batch.old_logps.clear();
  const LossResult result = loss_of(batch, loss_config(LossType::Grpo));
  expect_loss(result, 0.5, {-1 / 6.0, -1 / 6.0, -1 / 6.0, 0.5, 0.5, 0});
  const auto metrics = finish_loss_metrics(result.sums);
  EXPECT_EQ(metrics.at("ratio/min"), 1);
  EXPECT_EQ(metrics.at("ratio/max"), 1);
}

TEST(PolicyLoss, EntropyBonusIsTheMeanOverTokensWhateverTheObjective) {
  OwnedBatch batch = two_by_three();
  batch.entropies = {1, 2, 3, 4, 5, 600};
  for (const LossType type : {LossType::Grpo, LossType::Dapo, LossType::DrGrpo, LossType::Gmpo}) {
    LossConfig config = loss_config(type);
    const double without = loss_of(batch, config).loss;
    EXPECT_TRUE(loss_of(batch, config).entropy_grad.empty());
    config.entropy_coef = 0.1;
    const LossResult result = loss_of(batch, config);
    EXPECT_NEAR(result.loss, without - 0.1 * 3, kDigits);
    EXPECT_EQ(result.entropy_grad, (std::vector<double>{-0.02, -0.02, -0.02, -0.02, -0.02, 0}));
    EXPECT_DOUBLE_EQ(finish_loss_metrics(result.sums).at("entropy"), 3);
  }
}

// old - sampler: ln 2, ln 0.5, 0 and 0, ln 4; a completion's ratios are their products, 1 and 4.
TEST(PolicyLoss, SamplerCorrectionByHand) {
  OwnedBatch batch = two_by_three();
  const double ratios[] = {2, 0.5, 1, 1, 4, 9};
  for (std::size_t i = 0; i < 6; ++i) batch.sampler_logps.push_back(batch.old_logps[i] - std::log(ratios[i]));
  const auto weighted = [&](SamplerCorrection mode, const std::vector<double>& weights) {
    LossConfig config = loss_config(LossType::Dapo);
    config.sampler_correction = mode;
    config.sampler_correction_min = 0.75;
    config.sampler_correction_max = 1.75;
    const double terms[] = {-1, -1.2, -0.5, 2, 3}, slopes[] = {-1, 0, -0.5, 2, 3};
    double loss = 0, low = 9, high = 0;
    std::vector<double> grad(6, 0.0);
    for (std::size_t i = 0; i < 5; ++i) {
      loss += weights[i] * terms[i] / 5;
      grad[i] = weights[i] * slopes[i] / 5;
      low = std::min(low, weights[i]);
      high = std::max(high, weights[i]);
    }
    const LossResult result = loss_of(batch, config);
    expect_loss(result, loss, grad);
    const auto metrics = finish_loss_metrics(result.sums);
    EXPECT_NEAR(metrics.at("sampling/importance_sampling_ratio/min"), low, kDigits);
    EXPECT_NEAR(metrics.at("sampling/importance_sampling_ratio/max"), high, kDigits);
  };
  weighted(SamplerCorrection::TokenTruncate, {1.75, 0.75, 1, 1, 1.75});
  weighted(SamplerCorrection::TokenMask, {0, 0, 1, 1, 0});
  weighted(SamplerCorrection::SequenceTruncate, {1, 1, 1, 1.75, 1.75});
  weighted(SamplerCorrection::SequenceMask, {1, 1, 1, 0, 0});
}

// The difference at the weights that sampled: what the policy has learnt since is no mismatch.
TEST(PolicyLoss, SamplerDifferenceIsThatOfTheOldPolicy) {
  OwnedBatch batch = two_by_three();
  for (std::size_t i = 0; i < 6; ++i) batch.sampler_logps.push_back(batch.old_logps[i] + (i == 4 ? 0.5 : 0));
  auto metrics = finish_loss_metrics(loss_of(batch, loss_config(LossType::Grpo)).sums);
  EXPECT_NEAR(metrics.at("sampling/sampling_logp_difference/mean"), 0.1, kDigits);
  EXPECT_NEAR(metrics.at("sampling/sampling_logp_difference/max"), 0.5, kDigits);
  batch.old_logps.clear();
  metrics = finish_loss_metrics(loss_of(batch, loss_config(LossType::Grpo)).sums);
  EXPECT_NEAR(metrics.at("sampling/sampling_logp_difference/max"), std::log(2), kDigits);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
