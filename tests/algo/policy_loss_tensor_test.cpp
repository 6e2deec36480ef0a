// The loss as an autograd node.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <grpo/algo.h>

#include "algo/loss_cases.h"
#include "support/tensors.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::error_of;
using testing::leaf;
using testing::loss_config;
using testing::OwnedBatch;
using testing::random_batch;

at::Tensor floats(const std::vector<double>& values) {
  return at::tensor(values, at::TensorOptions().dtype(at::kFloat));
}

// The batch as fp32 log-probs and entropies see it.
OwnedBatch rounded_batch() {
  OwnedBatch batch = random_batch(11);
  for (double& value : batch.logps) value = static_cast<float>(value);
  for (double& value : batch.entropies) value = static_cast<float>(value);
  return batch;
}

LossConfig config_with_entropy() {
  LossConfig config = loss_config(LossType::Grpo, RatioLevel::Token, 0.1);
  config.entropy_coef = 0.2;
  return config;
}

void expect_rounded(const at::Tensor& got, const std::vector<double>& want, double factor) {
  ASSERT_TRUE(got.defined());
  ASSERT_EQ(got.numel(), static_cast<std::int64_t>(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_EQ(got[static_cast<std::int64_t>(i)].item<float>(), static_cast<float>(factor * want[i])) << i;
}

TEST(PolicyLossTensor, GradientsReachTheLeavesTimesWhatComesFromAbove) {
  const OwnedBatch batch = rounded_batch();
  const LossResult want = policy_loss(batch.view(), config_with_entropy(), batch.denominators());
  const at::Tensor logps = leaf(floats(batch.logps)), entropies = leaf(floats(batch.entropies));
  LossBatch rest = batch.view();
  rest.logps = {};
  rest.entropies = {};
  std::map<std::string, double> sums = {{"of an earlier batch", 1}};
  const at::Tensor loss = policy_loss(logps, entropies, rest, config_with_entropy(), batch.denominators(), &sums);
  EXPECT_EQ(loss.dim(), 0);
  EXPECT_EQ(loss.item<double>(), want.loss);
  EXPECT_EQ(sums, want.sums);
  (loss * 4).backward();  // a power of two: exact
  expect_rounded(logps.grad(), want.grad, 4);
  expect_rounded(entropies.grad(), want.entropy_grad, 4);
}

TEST(PolicyLossTensor, GradientsPassThroughWhatMadeTheLogProbs) {
  const OwnedBatch batch = rounded_batch();
  const LossConfig config = loss_config(LossType::Grpo);
  const LossResult want = policy_loss(batch.view(), config, batch.denominators());
  const at::Tensor half = leaf(floats(batch.logps) / 2);
  policy_loss(half * 2, at::Tensor(), batch.view(), config, batch.denominators()).backward();
  expect_rounded(half.grad(), want.grad, 2);
}

TEST(PolicyLossTensor, EntropiesThatAreOnlyWatchedGetNoGradient) {
  const OwnedBatch batch = rounded_batch();
  const at::Tensor logps = leaf(floats(batch.logps)), entropies = leaf(floats(batch.entropies));
  std::map<std::string, double> sums;
  policy_loss(logps, entropies, batch.view(), loss_config(LossType::Grpo), batch.denominators(), &sums).backward();
  EXPECT_TRUE(sums.contains("entropy"));
  EXPECT_FALSE(entropies.grad().defined());
  policy_loss(logps, at::Tensor(), batch.view(), loss_config(LossType::Grpo), batch.denominators(), &sums);
  EXPECT_FALSE(sums.contains("entropy"));
}

TEST(PolicyLossTensor, WithoutGradModeItIsANumber) {
  const OwnedBatch batch = rounded_batch();
  const at::Tensor logps = leaf(floats(batch.logps));
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(policy_loss(logps, at::Tensor(), batch.view(), loss_config(LossType::Grpo), batch.denominators())
                   .requires_grad());
}

TEST(PolicyLossTensor, TypesAndShapesAreChecked) {
  const OwnedBatch batch = rounded_batch();
  const auto with = [&](const at::Tensor& logps, const at::Tensor& entropies) {
    return error_of([&] { policy_loss(logps, entropies, batch.view(), config_with_entropy(), batch.denominators()); });
  };
  const at::Tensor logps = floats(batch.logps), entropies = floats(batch.entropies);
  EXPECT_EQ(with(logps.to(at::kDouble), entropies), "policy_loss: logprobs: expected fp32 [N] on the CPU");
  EXPECT_EQ(with(logps.unsqueeze(0), entropies), "policy_loss: logprobs: expected fp32 [N] on the CPU");
  EXPECT_EQ(with(logps, entropies.to(at::kHalf)), "policy_loss: entropies: expected fp32 [N] on the CPU");
  EXPECT_EQ(with(logps, at::Tensor()), "policy_loss: entropies: expected 21 values, got 0");
  EXPECT_EQ(with(at::Tensor(), entropies), "policy_loss: logprobs: expected fp32 [N] on the CPU");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
