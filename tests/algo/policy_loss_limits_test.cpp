// Extremes and mistakes: overflow, empty denominators, settings that contradict each other, sizes that do not fit.
#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include <grpo/algo.h>

#include "algo/loss_cases.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::all_loss_cases;
using testing::loss_config;
using testing::LossCase;
using testing::OwnedBatch;
using testing::random_batch;

template <class F>
std::string error_of(const F& f, ErrorKind kind = ErrorKind::User) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

TEST(PolicyLossLimits, HugeDistancesStayFinite) {
  for (const double old_distance : {1000.0, -1000.0})
    for (const double ref_distance : {1000.0, -1000.0}) {
      OwnedBatch batch = random_batch(5);
      for (std::size_t i = 0; i < batch.logps.size(); ++i) {
        batch.old_logps[i] = batch.logps[i] - old_distance;
        batch.ref_logps[i] = batch.logps[i] + ref_distance;
        batch.sampler_logps[i] = batch.old_logps[i] - old_distance;
      }
      for (const LossCase& test : all_loss_cases()) {
        SCOPED_TRACE(test.name);
        const LossResult result = policy_loss(batch.view(), test.config, batch.denominators());
        EXPECT_TRUE(std::isfinite(result.loss)) << result.loss;
        for (const double g : result.grad) EXPECT_TRUE(std::isfinite(g)) << g;
        for (const auto& [name, value] : result.sums) EXPECT_TRUE(std::isfinite(value)) << name;
      }
    }
}

OwnedBatch one_token(double log_ratio, double advantage) {
  OwnedBatch batch;
  batch.logps = {-1};
  batch.old_logps = {-1 - log_ratio};
  batch.advantages = {advantage};
  batch.mask = {1};
  batch.offsets = {0, 1};
  return batch;
}

TEST(PolicyLossLimits, BeyondTheClampARatioIsConstant) {
  for (const LossType type : {LossType::Grpo, LossType::Gspo, LossType::Gmpo, LossType::Sapo}) {
    const LossConfig config = loss_config(type);
    const Denominators one{1, 1};
    const LossResult far = policy_loss(one_token(25, -1).view(), config, one);
    EXPECT_EQ(far.loss, policy_loss(one_token(1000, -1).view(), config, one).loss);
    EXPECT_EQ(far.grad[0], 0);
  }
}

// Far below the reference k3 stops growing; far above it, which is what it is for, it pulls as ever.
TEST(PolicyLossLimits, KlPullsBackHoweverFarThePolicyIsAboveItsReference) {
  const LossConfig config = loss_config(LossType::Grpo, RatioLevel::Token, 1);
  OwnedBatch batch = one_token(0, 0);
  batch.ref_logps = {batch.logps[0] - 1000};
  LossResult result = policy_loss(batch.view(), config, {1, 1});
  EXPECT_EQ(result.loss, 999);
  EXPECT_EQ(result.grad[0], 1);
  batch.ref_logps = {batch.logps[0] + 1000};
  result = policy_loss(batch.view(), config, {1, 1});
  EXPECT_DOUBLE_EQ(result.loss, std::exp(20) - 21);
  EXPECT_EQ(result.grad[0], 0);
}

TEST(PolicyLossLimits, NothingToCountIsNoLoss) {
  OwnedBatch batch = random_batch(6);
  batch.mask.assign(batch.mask.size(), 0);
  for (const LossCase& test : all_loss_cases()) {
    SCOPED_TRACE(test.name);
    const LossResult result = policy_loss(batch.view(), test.config, {0, 0});
    EXPECT_EQ(result.loss, 0);
    for (const double g : result.grad) EXPECT_EQ(g, 0);
    EXPECT_TRUE(finish_loss_metrics(result.sums).empty());
  }
  OwnedBatch empty;
  empty.offsets = {0};
  EXPECT_EQ(policy_loss(empty.view(), loss_config(LossType::Grpo), {0, 0}).loss, 0);
}

TEST(PolicyLossLimits, TokensNeedADenominator) {
  const OwnedBatch batch = random_batch(6);
  EXPECT_EQ(error_of([&] {
              policy_loss(batch.view(), loss_config(LossType::Grpo), {0, 9});
            }),
            "policy_loss: denominators.sequences is 0 but there are unmasked tokens");
  EXPECT_EQ(error_of([&] {
              policy_loss(batch.view(), loss_config(LossType::Dapo), {9, 0});
            }),
            "policy_loss: denominators.tokens is 0 but there are unmasked tokens");
  LossConfig entropy = loss_config(LossType::Grpo);
  entropy.entropy_coef = 1;
  error_of([&] { policy_loss(batch.view(), entropy, {9, 0}); });
  error_of([&] { policy_loss(batch.view(), loss_config(LossType::Grpo), {-1, 9}); });
  error_of([&] { policy_loss(batch.view(), loss_config(LossType::Grpo), {NAN, 9}); });
}

TEST(PolicyLossLimits, DenominatorsCountWhatIsUnmasked) {
  const std::vector<std::uint8_t> mask = {1, 0, 255, 0, 0, 1};  // not 0: it counts
  const Denominators sum = count_denominators(mask, std::vector<std::int64_t>{0, 3, 3, 5, 6});
  EXPECT_EQ(sum.tokens, 3);
  EXPECT_EQ(sum.sequences, 2);
  EXPECT_EQ(count_denominators({}, {}).tokens, 0);
  for (const std::vector<std::int64_t>& offsets :
       {std::vector<std::int64_t>{0, 7}, {0, 5}, {1, 6}, {0, 4, 3, 6}, {0, -2, 6}, {}})
    error_of([&] { count_denominators(mask, offsets); });
}

TEST(PolicyLossLimits, AMaskIsAFlag) {
  OwnedBatch batch = random_batch(7);
  const LossResult ones = policy_loss(batch.view(), loss_config(LossType::Grpo), batch.denominators());
  for (std::uint8_t& flag : batch.mask) flag = flag ? 255 : 0;
  EXPECT_EQ(policy_loss(batch.view(), loss_config(LossType::Grpo), batch.denominators()).grad, ones.grad);
}

TEST(PolicyLossLimits, ContradictorySettingsAreRefused) {
  const auto refused = [](LossType type, const std::function<void(LossConfig&)>& change) {
    LossConfig config = loss_config(type);
    EXPECT_NO_THROW(validate_loss(config));
    change(config);
    return error_of([&] { validate_loss(config); });
  };
  EXPECT_EQ(refused(LossType::Cispo, [](LossConfig& c) { c.epsilon_high.reset(); }),
            "grpo.epsilon_high: cispo caps the ratio at epsilon_high itself; expected a value of at least 1");
  refused(LossType::Cispo, [](LossConfig& c) { c.epsilon_high = 0.2; });
  EXPECT_EQ(refused(LossType::Grpo, [](LossConfig& c) { c.delta = 1.3, c.epsilon_high = 0.4; }),
            "grpo.delta: expected more than 1 + epsilon_high = 1.4, got 1.3");
  refused(LossType::Grpo, [](LossConfig& c) { c.delta = 2, c.dual_clip = 3; });
  refused(LossType::Grpo, [](LossConfig& c) { c.dual_clip = 1; });
  for (const LossType type : {LossType::Cispo, LossType::Sapo, LossType::Gmpo}) {
    refused(type, [](LossConfig& c) { c.delta = 4; });
    refused(type, [](LossConfig& c) { c.dual_clip = 4; });
  }
  refused(LossType::Gmpo, [](LossConfig& c) { c.importance_sampling_level = RatioLevel::Sequence; });
  refused(LossType::Gspo, [](LossConfig& c) { c.importance_sampling_level = RatioLevel::SequenceProduct; });
  refused(LossType::DrGrpo, [](LossConfig& c) { c.max_completion_length = 0; });
  refused(LossType::Sapo, [](LossConfig& c) { c.sapo_temperature_neg = 0; });
  refused(LossType::Grpo, [](LossConfig& c) { c.sampler_correction_min = 4; });
  refused(LossType::Grpo, [](LossConfig& c) { c.epsilon = NAN; });
  refused(LossType::Grpo, [](LossConfig& c) { c.beta = -1; });
  refused(LossType::Grpo, [](LossConfig& c) { c.entropy_coef = NAN; });
}

TEST(PolicyLossLimits, GmpoTakesOneAdvantageACompletion) {
  OwnedBatch batch = random_batch(8);
  const auto loss = [&] { policy_loss(batch.view(), loss_config(LossType::Gmpo), batch.denominators()); };
  EXPECT_NO_THROW(loss());
  batch.advantages[0] = 0;  // a first token of 0 is an advantage too
  EXPECT_NE(error_of(loss).find("gmpo takes one advantage per completion"), std::string::npos);
}

TEST(PolicyLossLimits, SizesThatDoNotFit) {
  const LossConfig config = loss_config(LossType::Grpo, RatioLevel::Token, 0.1);
  const auto message = [&](const std::function<void(OwnedBatch&)>& change) {
    OwnedBatch batch = random_batch(9);
    change(batch);
    return error_of([&] { policy_loss(batch.view(), config, {4, 21}); });
  };
  EXPECT_EQ(message([](OwnedBatch& b) { b.old_logps.pop_back(); }),
            "policy_loss: old_logps: expected 21 values, got 20");
  EXPECT_EQ(message([](OwnedBatch& b) { b.ref_logps.clear(); }), "policy_loss: ref_logps: expected 21 values, got 0");
  message([](OwnedBatch& b) { b.sampler_logps.push_back(0); });
  message([](OwnedBatch& b) { b.entropies.resize(1); });
  message([](OwnedBatch& b) { b.advantages.clear(); });
  message([](OwnedBatch& b) { b.mask.clear(); });
  message([](OwnedBatch& b) { b.offsets.clear(); });
  EXPECT_EQ(message([](OwnedBatch& b) { b.offsets.back() = 22; }), "policy_loss: offsets must rise from 0 to 21");
  message([](OwnedBatch& b) { b.offsets[1] = -3; });
}

TEST(PolicyLossLimits, NonFiniteValuesStopTheStepByName) {
  using Field = std::vector<double> OwnedBatch::*;
  const std::vector<std::pair<std::string, Field>> fields = {
      {"logps", &OwnedBatch::logps},         {"old_logps", &OwnedBatch::old_logps},
      {"ref_logps", &OwnedBatch::ref_logps}, {"sampler_logps", &OwnedBatch::sampler_logps},
      {"entropies", &OwnedBatch::entropies}, {"advantages", &OwnedBatch::advantages}};
  const LossConfig config = loss_config(LossType::Grpo, RatioLevel::Token, 0.1);
  for (const auto& [name, field] : fields)
    for (const double value : {NAN, INFINITY}) {
      OwnedBatch batch = random_batch(10);
      (batch.*field)[2] = value;
      const std::string text =
          error_of([&] { policy_loss(batch.view(), config, batch.denominators()); }, ErrorKind::Guard);
      EXPECT_EQ(text, "policy_loss: " + name + ": expected finite values, got " + (std::isnan(value) ? "nan" : "inf") +
                          " at token 2");
    }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
