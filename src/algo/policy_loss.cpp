#include <fmt/format.h>
#include <grpo/algo.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "algo/loss_terms.h"

namespace grpo::inline GRPO_ABI {
namespace {

double count_tokens(std::span<const std::uint8_t> mask, std::int64_t begin, std::int64_t end) {
  return static_cast<double>(end - begin - std::count(mask.begin() + begin, mask.begin() + end, std::uint8_t{0}));
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
      count_ = count_tokens(b_.mask, b_.offsets[s], b_.offsets[s + 1]);
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
    check_finite("logps", b_.logps);
    check_finite("old_logps", b_.old_logps);
    if (config_.beta != 0) check_finite("ref_logps", b_.ref_logps);
    check_finite("sampler_logps", b_.sampler_logps);
    check_finite("entropies", b_.entropies);
    check_finite("advantages", b_.advantages);
  }
  void check_finite(const char* name, std::span<const double> values) const {
    for (std::size_t i = 0; i < values.size(); ++i)
      if (b_.mask[i] && !std::isfinite(values[i]))
        throw Error(fmt::format("policy_loss: {}: expected finite values, got {} at token {}", name, values[i], i),
                    ErrorKind::Guard);
  }

  // What a token of this sequence weighs in the step's loss (eq. 19-21).
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

  // exp(old - sampler) per token or over the sequence, truncated or masked (eq. 23-24); one value per token of it.
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
      const double ratio = std::exp(clamp_log_ratio(by_sequence ? sum : old_[i] - b_.sampler_logps[i]).value);
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
        const KlTerm kl = kl_of(b_.ref_logps[i] - b_.logps[i], log_ratio);
        add_kl(kl.value);
        result_.grad[i] += weight_ * config_.beta * (kl.slope + kl_ratio_slope_);
      }
      clips.add(policy.clip, 1);
      add_ratio(log_ratio);
    }
    record(clips, count_);
  }

  // One ratio for the whole output: the exp of the mean log-ratio, or of the sum (the R1 paper's print, with one KL);
  // eq. 7-8.
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
      const KlTerm kl = kl_of(is_product ? distance : b_.ref_logps[i] - b_.logps[i], log_ratio);
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

  // Geometric mean of the token ratios, each clipped in log space on its harmful side (eq. 14).
  void add_gmpo_sequence() {
    const double advantage = shared_advantage();
    std::vector<GmpoRatio> tokens(end_ - begin_);
    double mean_log = 0;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      tokens[i - begin_] = gmpo_ratio(config_, b_.logps[i] - old_[i], advantage);
      mean_log += tokens[i - begin_].log_ratio / count_;
    }
    const LogRatio clamped = clamp_log_ratio(mean_log);
    const double ratio = std::exp(clamped.value);
    // All tokens share the ratio: its slope by one of them, times the weight of all.
    const double slope = clamped.inside ? -advantage * ratio / count_ * weight_ * correction_sum() : 0;
    ClipCounts clips;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      const double log_ratio = b_.logps[i] - old_[i];
      add_policy(-advantage * ratio * correction_[i - begin_]);
      if (tokens[i - begin_].moves) result_.grad[i] += slope;
      clips.add(tokens[i - begin_].clip, 1);
      if (config_.beta != 0) {
        const KlTerm kl = kl_of(b_.ref_logps[i] - b_.logps[i], log_ratio);
        add_kl(kl.value);
        result_.grad[i] += weight_ * config_.beta * (kl.slope + kl_ratio_slope_);
      }
      add_ratio(log_ratio);
    }
    record(clips, count_);
  }
  double shared_advantage() const {
    std::optional<double> shared;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      if (!shared) shared = b_.advantages[i];
      GRPO_CHECK(b_.advantages[i] == *shared,
                 fmt::format("policy_loss: gmpo takes one advantage per completion, got {} "
                             "and {}",
                             *shared, b_.advantages[i]));
    }
    return *shared;
  }
  double correction_sum() const {
    double sum = 0;
    for (std::size_t i = begin_; i < end_; ++i)
      if (b_.mask[i]) sum += correction_[i - begin_];
    return sum;
  }

  // With bias correction (eq. 18) the KL is multiplied by the ratio; its slope by the log-ratio goes to
  // kl_ratio_slope_.
  KlTerm kl_of(double distance, double log_ratio) {
    KlTerm kl = kl_term(config_.kl_estimator, distance);
    kl_ratio_slope_ = 0;
    if (config_.use_bias_correction_kl) {
      const LogRatio c = clamp_log_ratio(log_ratio);
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
    const double ratio = std::exp(clamp_log_ratio(log_ratio).value);
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
    if (config_.loss_type == LossType::Sapo) return;  // clips nothing
    if (config_.loss_type == LossType::Cispo) {       // caps a weight, clips no ratio
      result_.sums["cispo_capped"] += clips.high;
      result_.sums["cispo_count"] += of;
      return;
    }
    result_.sums["clip_low"] += clips.low;
    result_.sums["clip_high"] += clips.high;
    result_.sums["clip_count"] += of;
    keep_min(result_.sums, "min:clip_low", clips.low / of);
    keep_max(result_.sums, "max:clip_high", clips.high / of);
  }

  // Entropy bonus (eq. 22: mean over the step's tokens, whatever the objective) and what is only watched.
  void add_diagnostics() {
    result_.sums["sequences"] += 1;
    result_.sums["tokens"] += count_;
    for (std::size_t i = begin_; i < end_; ++i) {
      if (!b_.mask[i]) continue;
      result_.sums["advantage_logp"] += b_.advantages[i] * b_.logps[i];
      if (!b_.sampler_logps.empty()) {
        const double difference = std::abs(old_[i] - b_.sampler_logps[i]);
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
  const bool is_nothing = offsets.empty() && mask.empty();
  GRPO_CHECK(is_nothing || (!offsets.empty() && offsets.front() == 0 &&
                            offsets.back() == static_cast<std::int64_t>(mask.size()) &&
                            std::is_sorted(offsets.begin(), offsets.end())),
             fmt::format("count_denominators: offsets must rise from 0 to {}", mask.size()));
  Denominators sum;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const double count = count_tokens(mask, offsets[s], offsets[s + 1]);
    sum.tokens += count;
    sum.sequences += count > 0 ? 1 : 0;
  }
  return sum;
}

LossResult policy_loss(const LossBatch& batch, const LossConfig& config, const Denominators& denominators) {
  validate_loss(config);
  return LossComputation(batch, config, denominators).run();
}

}  // namespace grpo::inline GRPO_ABI
