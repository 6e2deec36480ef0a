#include <fmt/format.h>
#include <grpo/algo.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace grpo {
namespace {

constexpr double kMaxLogRatio = 20;  // exp of log-ratios is clamped here; the gradient is 0 beyond

struct Clamped {
  double value;
  bool inside;
};
Clamped clamp_log(double x) { return {std::clamp(x, -kMaxLogRatio, kMaxLogRatio), std::abs(x) <= kMaxLogRatio}; }

// Value and derivative (with respect to the log-ratio, or to d = log ref - log pi for KL terms).
struct Term {
  double value = 0, slope = 0;
};

// KL estimators of d = log pi_ref - log pi (docs/algorithms.md eq. 4-6).
Term kl_term(KlEstimator estimator, double d) {
  const Clamped c = clamp_log(d);
  switch (estimator) {
    case KlEstimator::K1:
      return {-d, -1};
    case KlEstimator::K2:
      return {0.5 * d * d, d};
    case KlEstimator::K3:
      return {std::exp(c.value) - c.value - 1, c.inside ? std::exp(c.value) - 1 : 0};
  }
  throw Error("policy_loss: unknown KL estimator", ErrorKind::Internal);
}

enum class ClipSide { None, Low, High };

struct PolicyTerm {
  double value = 0;
  double slope = 0;         // with respect to the log-ratio
  double direct_slope = 0;  // with respect to log pi itself, past the ratio (cispo)
  ClipSide clip = ClipSide::None;
};

// -min(rho A, clip(rho) A), with the cap delta on the unclipped ratio and dual clip (eq. 7-9).
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

PolicyTerm policy_term(const LossConfig& config, double log_ratio, double logp, double advantage) {
  const Clamped c = clamp_log(log_ratio);
  const double ratio = std::exp(c.value);
  PolicyTerm term;
  switch (config.loss_type) {
    case LossType::Grpo:
    case LossType::DrGrpo:
    case LossType::Dapo:
    case LossType::Bnpo:
    case LossType::Gspo:
      term = clipped_term(config, ratio, advantage);
      break;
    case LossType::Cispo: {  // the weight is the capped ratio, detached
      const double weight = std::min(ratio, *config.epsilon_high);
      term.value = -weight * advantage * logp;
      term.direct_slope = -weight * advantage;
      term.clip = ratio > *config.epsilon_high && advantage > 0 ? ClipSide::High : ClipSide::None;
      break;
    }
    case LossType::Sapo: {  // -(4/tau) sigma(tau (rho - 1)) A
      const double tau = advantage > 0 ? config.sapo_temperature_pos : config.sapo_temperature_neg;
      const double sigma = 1 / (1 + std::exp(-tau * (ratio - 1)));
      term.value = -4 / tau * sigma * advantage;
      term.slope = -4 * sigma * (1 - sigma) * advantage * ratio;
      break;
    }
    case LossType::Gmpo:
      throw Error("policy_loss: gmpo has no token term", ErrorKind::Internal);
  }
  if (!c.inside) term.slope = 0;
  return term;
}

void keep_min(std::map<std::string, double>& sums, const char* name, double value) {
  const auto [it, is_new] = sums.try_emplace(name, value);
  if (!is_new) it->second = std::min(it->second, value);
}
void keep_max(std::map<std::string, double>& sums, const char* name, double value) {
  const auto [it, is_new] = sums.try_emplace(name, value);
  if (!is_new) it->second = std::max(it->second, value);
}

class LossComputation {
 public:
  LossComputation(const LossBatch& batch, const LossConfig& config, const Denominators& denominators)
      : b_(batch),
        config_(config),
        denominators_(denominators),
        old_(batch.old_logps.empty() ? batch.logps : batch.old_logps) {
    level_ = config.loss_type == LossType::Gspo ? RatioLevel::Sequence : config.importance_sampling_level;
    check();
  }

  LossResult run() {
    result_.grad.assign(b_.logps.size(), 0.0);
    if (config_.entropy_coef != 0) result_.entropy_grad.assign(b_.logps.size(), 0.0);
    for (std::size_t s = 0; s + 1 < b_.offsets.size(); ++s) {
      begin_ = static_cast<std::size_t>(b_.offsets[s]);
      end_ = static_cast<std::size_t>(b_.offsets[s + 1]);
      count_ = static_cast<double>(
          std::count(b_.mask.begin() + b_.offsets[s], b_.mask.begin() + b_.offsets[s + 1], std::uint8_t{1}));
      if (count_ == 0) continue;
      weight_ = token_weight();
      correction_ = sampler_correction();
      if (config_.loss_type == LossType::Gmpo) {
        add_gmpo_sequence();
      } else if (level_ == RatioLevel::Token) {
        add_token_ratios();
      } else {
        add_sequence_ratio();
      }
      add_diagnostics();
    }
    return std::move(result_);
  }

 private:
  void check() const {
    const std::size_t n = b_.logps.size();
    const auto fits = [&](const char* name, std::size_t size, bool may_be_empty) {
      GRPO_CHECK(size == n || (may_be_empty && size == 0),
                 fmt::format("policy_loss: {}: expected {} values, got {}", name, n, size));
    };
    fits("old_logps", b_.old_logps.size(), true);
    fits("ref_logps", b_.ref_logps.size(), config_.beta == 0);
    fits("sampler_logps", b_.sampler_logps.size(), config_.sampler_correction == SamplerCorrection::None);
    fits("entropies", b_.entropies.size(), config_.entropy_coef == 0);
    fits("advantages", b_.advantages.size(), false);
    fits("mask", b_.mask.size(), false);
    GRPO_CHECK(!b_.offsets.empty() && b_.offsets.front() == 0 && b_.offsets.back() == static_cast<std::int64_t>(n) &&
                   std::is_sorted(b_.offsets.begin(), b_.offsets.end()),
               fmt::format("policy_loss: offsets must rise from 0 to {}", n));
    GRPO_CHECK(denominators_.sequences >= 0 && denominators_.tokens >= 0,
               "policy_loss: denominators must not be negative");
    for (std::size_t i = 0; i < n; ++i) {
      if (!b_.mask[i]) continue;
      const bool finite = std::isfinite(b_.logps[i]) && std::isfinite(old_[i]) && std::isfinite(b_.advantages[i]) &&
                          (config_.beta == 0 || std::isfinite(b_.ref_logps[i]));
      if (!finite)
        throw Error(fmt::format("policy_loss: token {} has a non-finite log-prob or advantage", i), ErrorKind::Guard);
    }
  }

  // What a token of this sequence weighs in the step's loss (eq. 10-12).
  double token_weight() const {
    switch (config_.loss_type) {
      case LossType::Grpo:
      case LossType::Gspo:
      case LossType::Sapo:
      case LossType::Gmpo:
        return 1 / (count_ * nonzero(denominators_.sequences, "sequences"));
      case LossType::Dapo:
      case LossType::Bnpo:
      case LossType::Cispo:
        return 1 / nonzero(denominators_.tokens, "tokens");
      case LossType::DrGrpo:
        return 1 / (nonzero(denominators_.sequences, "sequences") * static_cast<double>(config_.max_completion_length));
    }
    throw Error("policy_loss: unknown loss_type", ErrorKind::Internal);
  }
  static double nonzero(double denominator, const char* name) {
    GRPO_CHECK(denominator > 0, fmt::format("policy_loss: denominators.{} is 0 but there are unmasked tokens", name));
    return denominator;
  }

  // exp(old - sampler) per token or over the sequence, truncated or masked; one value per token of the sequence.
  std::vector<double> sampler_correction() {
    std::vector<double> weights(end_ - begin_, 1.0);
    if (config_.sampler_correction == SamplerCorrection::None) return weights;
    double sum = 0;
    for (std::size_t i = begin_; i < end_; ++i)
      if (b_.mask[i]) sum += old_[i] - b_.sampler_logps[i];
    const bool by_sequence = config_.sampler_correction == SamplerCorrection::SequenceTruncate ||
                             config_.sampler_correction == SamplerCorrection::SequenceMask;
    const bool truncate = config_.sampler_correction == SamplerCorrection::SequenceTruncate ||
                          config_.sampler_correction == SamplerCorrection::TokenTruncate;
    const double low = config_.sampler_correction_min, high = config_.sampler_correction_max;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      const double ratio = std::exp(clamp_log(by_sequence ? sum : old_[i] - b_.sampler_logps[i]).value);
      weights[i - begin_] = truncate ? std::clamp(ratio, low, high) : (ratio >= low && ratio <= high ? ratio : 0.0);
      result_.sums["correction"] += weights[i - begin_];
      keep_min(result_.sums, "min:correction", weights[i - begin_]);
      keep_max(result_.sums, "max:correction", weights[i - begin_]);
    }
    return weights;
  }

  void add_token_ratios() {
    ClipCounts clips;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      const double log_ratio = b_.logps[i] - old_[i];
      const PolicyTerm policy = policy_term(config_, log_ratio, b_.logps[i], b_.advantages[i]);
      const double correction = correction_[i - begin_];
      add_policy(correction * policy.value);
      result_.grad[i] += weight_ * correction * (policy.slope + policy.direct_slope);
      if (config_.beta != 0) {
        const Term kl = kl_of(b_.ref_logps[i] - b_.logps[i], log_ratio);
        add_kl(kl.value);
        result_.grad[i] += weight_ * config_.beta * (kl.slope + kl_ratio_slope_);
      }
      clips.add(policy.clip, 1);
      add_ratio(log_ratio);
    }
    record(clips, count_);
  }

  // One ratio for the whole output: the exp of the mean log-ratio, or of the sum (the R1 paper's print, with one KL).
  void add_sequence_ratio() {
    double log_ratio = 0, distance = 0;
    for (std::size_t i = begin_; i < end_; ++i)
      if (b_.mask[i]) {
        log_ratio += b_.logps[i] - old_[i];
        if (config_.beta != 0) distance += b_.ref_logps[i] - b_.logps[i];
      }
    const bool is_product = level_ == RatioLevel::SequenceProduct;
    const double share = is_product ? 1 : 1 / count_;  // of the ratio's logarithm that a token's log-prob is
    log_ratio *= share;
    ClipCounts clips;
    double ratio_slope = 0, distance_slope = 0;  // of the loss, with respect to log_ratio and to the output's log-prob
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      const PolicyTerm policy = policy_term(config_, log_ratio, b_.logps[i], b_.advantages[i]);
      const double correction = correction_[i - begin_];
      add_policy(correction * policy.value);
      ratio_slope += weight_ * correction * policy.slope;
      result_.grad[i] += weight_ * correction * policy.direct_slope;
      clips.add(policy.clip, 1 / count_);
      if (config_.beta == 0) continue;
      const Term kl = kl_of(is_product ? distance : b_.ref_logps[i] - b_.logps[i], log_ratio);
      add_kl(kl.value);
      ratio_slope += weight_ * config_.beta * kl_ratio_slope_;
      if (is_product) {
        distance_slope += weight_ * config_.beta * kl.slope;
      } else {
        result_.grad[i] += weight_ * config_.beta * kl.slope;
      }
    }
    for (std::size_t i = begin_; i < end_; ++i)
      if (b_.mask[i]) result_.grad[i] += ratio_slope * share + distance_slope;
    record(clips, 1);
    add_ratio(log_ratio);
  }

  // Geometric mean of the token ratios, each clipped in log space on its harmful side (GMPO eq. 4).
  void add_gmpo_sequence() {
    const double high = config_.epsilon_high.value_or(config_.epsilon);
    ClipCounts clips;
    double advantage = 0, log_ratio = 0;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      GRPO_CHECK(advantage == 0 || b_.advantages[i] == advantage,
                 "policy_loss: gmpo takes one advantage per completion");
      advantage = b_.advantages[i];
      log_ratio += gmpo_clip(b_.logps[i] - old_[i], advantage, high).value / count_;
    }
    const double ratio = std::exp(clamp_log(log_ratio).value);
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      const double token_log_ratio = b_.logps[i] - old_[i];
      const Clamped clipped = gmpo_clip(token_log_ratio, advantage, high);
      add_policy(-advantage * ratio * correction_[i - begin_]);
      // All tokens share the ratio: its slope by this token, times the weight of all of them.
      if (clipped.inside) result_.grad[i] += -advantage * ratio / count_ * weight_ * correction_sum();
      if (!clipped.inside) clips.add(advantage > 0 ? ClipSide::High : ClipSide::Low, 1);
      if (config_.beta != 0) {
        const Term kl = kl_of(b_.ref_logps[i] - b_.logps[i], token_log_ratio);
        add_kl(kl.value);
        result_.grad[i] += weight_ * config_.beta * (kl.slope + kl_ratio_slope_);
      }
      add_ratio(token_log_ratio);
    }
    record(clips, count_);
  }
  Clamped gmpo_clip(double log_ratio, double advantage, double high) const {
    if (advantage > 0) return {std::min(log_ratio, high), log_ratio <= high};
    return {std::max(log_ratio, -config_.epsilon), log_ratio >= -config_.epsilon};
  }
  double correction_sum() const {
    double sum = 0;
    for (std::size_t i = begin_; i < end_; ++i)
      if (b_.mask[i]) sum += correction_[i - begin_];
    return sum;
  }

  // KL and its slope by log pi; with bias correction it is multiplied by the ratio, whose slope goes to
  // kl_ratio_slope_.
  Term kl_of(double distance, double log_ratio) {
    Term kl = kl_term(config_.kl_estimator, distance);
    kl.slope = -kl.slope;  // d falls as log pi rises
    kl_ratio_slope_ = 0;
    if (config_.use_bias_correction_kl) {
      const Clamped c = clamp_log(log_ratio);
      const double ratio = std::exp(c.value);
      kl.slope *= ratio;
      kl.value *= ratio;
      if (c.inside) kl_ratio_slope_ = kl.value;
    }
    return kl;
  }

  void add_policy(double value) {
    result_.loss += weight_ * value;
    result_.sums["policy_loss"] += weight_ * value;
  }
  void add_kl(double value) {
    result_.loss += weight_ * config_.beta * value;
    result_.sums["kl"] += value;
  }
  void add_ratio(double log_ratio) {
    const double ratio = std::exp(clamp_log(log_ratio).value);
    result_.sums["ratio"] += ratio;
    result_.sums["ratio_count"] += 1;
    keep_min(result_.sums, "min:ratio", ratio);
    keep_max(result_.sums, "max:ratio", ratio);
  }

  struct ClipCounts {
    double low = 0, high = 0;
    void add(ClipSide side, double share) {
      if (side == ClipSide::Low) low += share;
      if (side == ClipSide::High) high += share;
    }
  };
  // `of`: how many ratios the sequence has, 1 or one per token.
  void record(const ClipCounts& clips, double of) {
    result_.sums["clip_low"] += clips.low;
    result_.sums["clip_high"] += clips.high;
    result_.sums["clip_count"] += of;
    keep_min(result_.sums, "min:clip_low", clips.low / of);
    keep_max(result_.sums, "max:clip_high", clips.high / of);
  }

  // Entropy bonus (mean over the step's tokens, whatever the objective) and what is only watched.
  void add_diagnostics() {
    result_.sums["sequences"] += 1;
    result_.sums["tokens"] += count_;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      result_.sums["advantage_logp"] += b_.advantages[i] * b_.logps[i];
      if (!b_.sampler_logps.empty()) {
        const double difference = std::abs(b_.logps[i] - b_.sampler_logps[i]);
        result_.sums["sampling_difference"] += difference;
        keep_max(result_.sums, "max:sampling_difference", difference);
      }
      if (b_.entropies.empty()) continue;
      result_.sums["entropy"] += b_.entropies[i];
      if (config_.entropy_coef == 0) continue;
      const double weight = config_.entropy_coef / nonzero(denominators_.tokens, "tokens");
      result_.loss -= weight * b_.entropies[i];
      result_.entropy_grad[i] = -weight;
    }
  }

  const LossBatch& b_;
  const LossConfig& config_;
  Denominators denominators_;
  std::span<const double> old_;
  RatioLevel level_;
  LossResult result_;
  // of the sequence at hand
  std::size_t begin_ = 0, end_ = 0;
  double count_ = 0, weight_ = 0;
  std::vector<double> correction_;
  double kl_ratio_slope_ = 0;
};

}  // namespace

Denominators count_denominators(std::span<const std::uint8_t> mask, std::span<const std::int64_t> offsets) {
  Denominators sum;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto count =
        static_cast<double>(std::count(mask.begin() + offsets[s], mask.begin() + offsets[s + 1], std::uint8_t{1}));
    sum.tokens += count;
    sum.sequences += count > 0 ? 1 : 0;
  }
  return sum;
}

void validate_loss(const LossConfig& config) {
  const double high = config.epsilon_high.value_or(config.epsilon);
  if (config.loss_type == LossType::Cispo)
    GRPO_CHECK(config.epsilon_high && *config.epsilon_high >= 1,
               "grpo.epsilon_high: cispo caps the ratio at epsilon_high itself; expected a value of at least 1");
  GRPO_CHECK(config.epsilon >= 0 && high >= 0, "grpo.epsilon: expected a value of at least 0");
  if (config.delta)
    GRPO_CHECK(*config.delta > 1 + high,
               fmt::format("grpo.delta: expected more than 1 + epsilon_high = {}, got {}", 1 + high, *config.delta));
  if (config.dual_clip)
    GRPO_CHECK(*config.dual_clip > 1, fmt::format("grpo.dual_clip: expected more than 1, got {}", *config.dual_clip));
  const bool clips =
      config.loss_type != LossType::Cispo && config.loss_type != LossType::Sapo && config.loss_type != LossType::Gmpo;
  GRPO_CHECK(clips || (!config.delta && !config.dual_clip),
             "grpo.delta, grpo.dual_clip: no effect with this loss_type");
  if (config.loss_type == LossType::Gmpo)
    GRPO_CHECK(config.importance_sampling_level == RatioLevel::Token,
               "grpo.importance_sampling_level: gmpo has token ratios");
  GRPO_CHECK(config.sapo_temperature_pos > 0 && config.sapo_temperature_neg > 0,
             "grpo.sapo_temperature: expected values above 0");
  GRPO_CHECK(config.sampler_correction_min <= config.sampler_correction_max,
             "grpo.sampler_correction_min: expected no more than sampler_correction_max");
}

LossResult policy_loss(const LossBatch& batch, const LossConfig& config, const Denominators& denominators) {
  validate_loss(config);
  return LossComputation(batch, config, denominators).run();
}

}  // namespace grpo
