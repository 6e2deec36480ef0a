#include "algo/loss_terms.h"

#include <grpo/algo.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr double kMaxLogRatio = 20;

// -min(rho A, clip(rho) A), with the cap delta on the unclipped ratio and dual clip (eq. 9-11).
PolicyTerm clipped_term(const LossConfig& config, double ratio, double advantage) {
  const double low = 1 - config.epsilon, high = 1 + config.epsilon_high.value_or(config.epsilon);
  const double capped = config.delta ? std::min(ratio, *config.delta) : ratio;
  PolicyTerm term;
  term.clip = capped < low && advantage < 0    ? ClipSide::Low
              : capped > high && advantage > 0 ? ClipSide::High
                                               : ClipSide::None;
  const double unclipped_gain = capped * advantage, clipped_gain = std::clamp(ratio, low, high) * advantage;
  if (unclipped_gain <= clipped_gain) {
    term.value = -unclipped_gain;
    term.slope = capped == ratio ? -ratio * advantage : 0;
  } else {
    term.value = -clipped_gain;
  }
  if (config.dual_clip && advantage < 0 && term.value > -*config.dual_clip * advantage) {
    term.value = -*config.dual_clip * advantage;
    term.slope = 0;
  }
  return term;
}

}  // namespace

LogRatio clamp_log_ratio(double log_ratio) {
  return {std::clamp(log_ratio, -kMaxLogRatio, kMaxLogRatio), std::abs(log_ratio) <= kMaxLogRatio};
}

// Eq. 15-17. The slope falls with d as log pi rises. Only k3's exp can overflow, and only upwards: where the policy is
// far above its reference, which is what the term is for, it stays exact.
KlTerm kl_term(KlEstimator estimator, double d) {
  switch (estimator) {
    case KlEstimator::K1:
      return {-d, 1};
    case KlEstimator::K2:
      return {0.5 * d * d, -d};
    case KlEstimator::K3: {
      const double c = std::min(d, kMaxLogRatio);
      return {std::exp(c) - c - 1, d <= kMaxLogRatio ? 1 - std::exp(c) : 0};
    }
  }
  throw Error("policy_loss: unknown KL estimator", ErrorKind::Internal);
}

PolicyTerm policy_term(const LossConfig& config, double log_ratio, double logp, double advantage) {
  const LogRatio clamped = clamp_log_ratio(log_ratio);
  const double ratio = std::exp(clamped.value);
  PolicyTerm term;
  switch (config.loss_type) {
    case LossType::Grpo:
    case LossType::DrGrpo:
    case LossType::Dapo:
    case LossType::Bnpo:
    case LossType::Gspo:
      term = clipped_term(config, ratio, advantage);
      break;
    case LossType::Cispo: {  // eq. 12: the weight is the capped ratio, detached
      const double weight = std::min(ratio, *config.epsilon_high);
      term.value = -weight * advantage * logp;
      term.direct_slope = -weight * advantage;
      term.clip = ratio > *config.epsilon_high && advantage > 0 ? ClipSide::High : ClipSide::None;
      break;
    }
    case LossType::Sapo: {  // eq. 13: -(4/tau) sigma(tau (rho - 1)) A
      const double tau = advantage > 0 ? config.sapo_temperature_pos : config.sapo_temperature_neg;
      const double sigma = 1 / (1 + std::exp(-tau * (ratio - 1)));
      term.value = -4 / tau * sigma * advantage;
      term.slope = -4 * sigma * (1 - sigma) * advantage * ratio;
      break;
    }
    case LossType::Gmpo:
      throw Error("policy_loss: gmpo has no token term", ErrorKind::Internal);
  }
  if (!clamped.inside) term.slope = 0;
  return term;
}

GmpoRatio gmpo_ratio(const LossConfig& config, double log_ratio, double advantage) {
  const double high = config.epsilon_high.value_or(config.epsilon);
  if (advantage > 0 && log_ratio > high) return {high, ClipSide::High, false};
  if (advantage < 0 && log_ratio < -config.epsilon) return {-config.epsilon, ClipSide::Low, false};
  return {log_ratio};
}

void validate_loss(const LossConfig& config) {
  const double high = config.epsilon_high.value_or(config.epsilon);
  const LossType type = config.loss_type;
  const RatioLevel level = config.importance_sampling_level;
  if (type == LossType::Cispo)
    GRPO_CHECK(config.epsilon_high && *config.epsilon_high >= 1,
               "grpo.epsilon_high: cispo caps the ratio at epsilon_high itself; expected a value of at least 1");
  GRPO_CHECK(config.epsilon >= 0 && high >= 0, "grpo.epsilon: expected a value of at least 0");
  GRPO_CHECK(config.beta >= 0 && std::isfinite(config.beta),
             fmt::format("grpo.beta: expected a value of at least 0, got {}", config.beta));
  GRPO_CHECK(std::isfinite(config.entropy_coef),
             fmt::format("grpo.entropy_coef: expected a number, got {}", config.entropy_coef));
  GRPO_CHECK(type != LossType::DrGrpo || config.max_completion_length >= 1,
             fmt::format("grpo.max_completion_length: dr_grpo divides by it; expected at least 1, got {}",
                         config.max_completion_length));
  const bool clips = type != LossType::Cispo && type != LossType::Sapo && type != LossType::Gmpo;
  GRPO_CHECK(clips || (!config.delta && !config.dual_clip),
             "grpo.delta, grpo.dual_clip: no effect with this loss_type");
  GRPO_CHECK(!config.delta || !config.dual_clip,
             "grpo.delta, grpo.dual_clip: both bound the ratio where the advantage is negative; expected one of them");
  if (config.delta)
    GRPO_CHECK(*config.delta > 1 + high,
               fmt::format("grpo.delta: expected more than 1 + epsilon_high = {}, got {}", 1 + high, *config.delta));
  if (config.dual_clip)
    GRPO_CHECK(*config.dual_clip > 1, fmt::format("grpo.dual_clip: expected more than 1, got {}", *config.dual_clip));
  GRPO_CHECK(type != LossType::Gmpo || level == RatioLevel::Token,
             "grpo.importance_sampling_level: gmpo has token ratios");
  GRPO_CHECK(type != LossType::Gspo || level != RatioLevel::SequenceProduct,
             "grpo.importance_sampling_level: gspo takes the mean over the sequence, got sequence_product");
  GRPO_CHECK(config.sapo_temperature_pos > 0 && config.sapo_temperature_neg > 0,
             "grpo.sapo_temperature: expected values above 0");
  GRPO_CHECK(config.sampler_correction_min <= config.sampler_correction_max,
             "grpo.sampler_correction_min: expected no more than sampler_correction_max");
}

}  // namespace grpo::inline GRPO_ABI
