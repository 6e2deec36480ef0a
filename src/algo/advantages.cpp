#include <fmt/format.h>
#include <grpo/algo.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Values of one group or batch that are there (not NaN).
struct Moments {
  double mean = 0, deviation = 0;
  std::int64_t n = 0;
  bool has_spread = false;
};

// `scale`: size of the terms behind the values; differences below its rounding are none.
template <class Get>
Moments moments_of(std::int64_t begin, std::int64_t end, const Get& get, int ddof, double scale) {
  Moments m;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (std::int64_t i = begin; i < end; ++i) {
    const double x = get(i);
    if (std::isnan(x)) continue;
    m.mean += x;
    low = std::min(low, x);
    high = std::max(high, x);
    ++m.n;
  }
  if (m.n == 0) return m;
  m.mean /= static_cast<double>(m.n);
  double squares = 0;
  for (std::int64_t i = begin; i < end; ++i) {
    const double x = get(i);
    if (!std::isnan(x)) squares += (x - m.mean) * (x - m.mean);
  }
  if (m.n > ddof) m.deviation = std::sqrt(squares / static_cast<double>(m.n - ddof));
  // Sums of K terms differ by a few roundings of the largest term when they mean the same.
  m.has_spread = high - low > 64 * std::numeric_limits<double>::epsilon() * scale && m.deviation > 0;
  return m;
}

class AdvantageComputation {
 public:
  AdvantageComputation(const AdvantageInput& input, const AdvantageConfig& config)
      : in_(input), config_(config), num_samples_(in_.num_rewards ? in_.rewards.size() / in_.num_rewards : 0) {
    check();
  }

  AdvantageResult run() {
    result_.advantages.assign(num_samples_, 0.0);
    result_.totals.assign(num_samples_, kNan);
    result_.included.assign(num_samples_, 1);
    for (std::size_t g = 0; g < num_groups(); ++g) {
      mark_included(g);
      sum_group(g);
    }
    if (config_.aggregation == Aggregation::SumThenNormalize) {
      normalize_totals();
    } else {
      normalize_then_sum();
    }
    write_metrics();
    return std::move(result_);
  }

 private:
  std::size_t num_groups() const { return in_.group_offsets.size() - 1; }
  double reward(std::int64_t i, std::size_t k) const {
    return in_.rewards[static_cast<std::size_t>(i) * in_.num_rewards + k];
  }
  bool is_absent(std::size_t g, std::size_t k) const {
    return !in_.absent.empty() && in_.absent[g * in_.num_rewards + k];
  }
  MissingReward missing(std::size_t k) const { return in_.missing.empty() ? MissingReward::Exclude : in_.missing[k]; }
  double& total(std::int64_t i) { return result_.totals[static_cast<std::size_t>(i)]; }
  bool is_included(std::int64_t i) const { return result_.included[static_cast<std::size_t>(i)] != 0; }

  void check() const {
    GRPO_CHECK(in_.num_rewards >= 1, "advantages: expected at least one reward");
    GRPO_CHECK(in_.rewards.size() == num_samples_ * in_.num_rewards,
               fmt::format("advantages: {} rewards are no multiple of {}", in_.rewards.size(), in_.num_rewards));
    GRPO_CHECK(in_.weights.size() == in_.num_rewards,
               fmt::format("advantages: expected {} weights, got {}", in_.num_rewards, in_.weights.size()));
    GRPO_CHECK(in_.missing.empty() || in_.missing.size() == in_.num_rewards,
               "advantages: `missing` must have one entry per reward");
    GRPO_CHECK(!in_.group_offsets.empty() && in_.group_offsets.front() == 0 &&
                   in_.group_offsets.back() == static_cast<std::int64_t>(num_samples_) &&
                   std::is_sorted(in_.group_offsets.begin(), in_.group_offsets.end()),
               fmt::format("advantages: group offsets must rise from 0 to {}", num_samples_));
    GRPO_CHECK(in_.absent.empty() || in_.absent.size() == num_groups() * in_.num_rewards,
               "advantages: `absent` must have one entry per group and reward");
    GRPO_CHECK(config_.ddof == 0 || config_.ddof == 1,
               fmt::format("advantages: ddof: expected 0 or 1, got {}", config_.ddof));
    GRPO_CHECK(config_.eps >= 0, fmt::format("advantages: eps: expected a value of at least 0, got {}", config_.eps));
    if (config_.aggregation == Aggregation::NormalizeThenSum)
      GRPO_CHECK(config_.scale_rewards == ScaleRewards::Group && config_.baseline == Baseline::Mean,
                 "advantages: normalize_then_sum divides each reward by its group's std around its mean; expected "
                 "scale_rewards group and baseline mean");
    for (std::size_t i = 0; i < in_.rewards.size(); ++i)
      GRPO_CHECK(!std::isinf(in_.rewards[i]), fmt::format("advantages: reward {} of sample {} is infinite",
                                                          i % in_.num_rewards, i / in_.num_rewards));
    for (double weight : in_.weights) GRPO_CHECK(std::isfinite(weight), "advantages: weights must be finite");
  }

  // A sample leaves mean and std as a whole: when a reward that must not be missing is, or when none is there.
  void mark_included(std::size_t g) {
    for (std::int64_t i = in_.group_offsets[g]; i < in_.group_offsets[g + 1]; ++i) {
      bool excluded = false, any = false;
      for (std::size_t k = 0; k < in_.num_rewards; ++k) {
        if (is_absent(g, k)) continue;
        const bool is_missing = std::isnan(reward(i, k));
        any = any || !is_missing;
        excluded = excluded || (is_missing && missing(k) == MissingReward::Exclude);
      }
      result_.included[static_cast<std::size_t>(i)] = any && !excluded;
    }
  }

  // Weighted sums (eq. 1); docs/algorithms.md has the table of missing values.
  void sum_group(std::size_t g) {
    std::vector<double> fill(in_.num_rewards, 0.0);  // zero: TRL's nansum
    for (std::size_t k = 0; k < in_.num_rewards; ++k)
      // Centred: the group's mean of this reward, so that it adds no advantage.
      if (!is_absent(g, k) && missing(k) == MissingReward::Center) fill[k] = reward_moments(g, k).mean;
    for (std::int64_t i = in_.group_offsets[g]; i < in_.group_offsets[g + 1]; ++i) {
      if (!is_included(i)) continue;
      double sum = 0;
      for (std::size_t k = 0; k < in_.num_rewards; ++k)
        if (!is_absent(g, k)) sum += in_.weights[k] * (std::isnan(reward(i, k)) ? fill[k] : reward(i, k));
      GRPO_CHECK(std::isfinite(sum), fmt::format("advantages: the weighted rewards of sample {} overflow", i));
      total(i) = sum;
    }
  }

  Moments reward_moments(std::size_t g, std::size_t k) const {
    double scale = 0;
    const std::int64_t begin = in_.group_offsets[g], end = in_.group_offsets[g + 1];
    const auto get = [&](std::int64_t i) { return is_included(i) ? reward(i, k) : kNan; };
    for (std::int64_t i = begin; i < end; ++i)
      if (!std::isnan(get(i))) scale = std::max(scale, std::abs(get(i)));
    return moments_of(begin, end, get, config_.ddof, scale);
  }

  // Largest sum of |weight x reward| in the group: what the totals' rounding is relative to.
  double total_scale(std::size_t g) const {
    double scale = 0;
    for (std::int64_t i = in_.group_offsets[g]; i < in_.group_offsets[g + 1]; ++i) {
      if (!is_included(i)) continue;
      double sum = 0;
      for (std::size_t k = 0; k < in_.num_rewards; ++k)
        if (!is_absent(g, k) && !std::isnan(reward(i, k))) sum += std::abs(in_.weights[k] * reward(i, k));
      scale = std::max(scale, sum);
    }
    return scale;
  }

  Moments total_moments(std::size_t g) const {
    return moments_of(
        in_.group_offsets[g], in_.group_offsets[g + 1],
        [&](std::int64_t i) { return result_.totals[static_cast<std::size_t>(i)]; }, config_.ddof, total_scale(g));
  }

  Moments batch_moments(const std::vector<double>& values) const {
    return moments_of(
        0, static_cast<std::int64_t>(values.size()),
        [&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }, config_.ddof, 0);
  }

  // Eq. 2-3: A_i = (R_i - mean) / (std + eps); leave-one-out takes the mean of the others.
  void normalize_totals() {
    const Moments batch = batch_moments(result_.totals);
    for (std::size_t g = 0; g < num_groups(); ++g) {
      const Moments group = total_moments(g);
      if (!group.has_spread) {
        ++num_zero_spread_;
        continue;
      }
      double factor = 1;
      if (config_.baseline == Baseline::LeaveOneOut)
        factor = static_cast<double>(group.n) / static_cast<double>(group.n - 1);
      if (config_.scale_rewards == ScaleRewards::Group) factor /= group.deviation + config_.eps;
      if (config_.scale_rewards == ScaleRewards::Batch) factor /= batch.deviation + config_.eps;
      for (std::int64_t i = in_.group_offsets[g]; i < in_.group_offsets[g + 1]; ++i)
        if (is_included(i)) result_.advantages[static_cast<std::size_t>(i)] = (total(i) - group.mean) * factor;
    }
  }

  // GDPO (eq. 4): z-scores per reward inside the group, weighted sum, then whitened over the whole rollout.
  void normalize_then_sum() {
    std::vector<double> sums(num_samples_, kNan);
    std::vector<std::uint8_t> has_spread(num_groups(), 0);
    for (std::size_t g = 0; g < num_groups(); ++g) {
      const double scale = sum_scores(g, sums);
      const auto get = [&](std::int64_t i) { return sums[static_cast<std::size_t>(i)]; };
      const bool spread =
          moments_of(in_.group_offsets[g], in_.group_offsets[g + 1], get, config_.ddof, scale).has_spread;
      has_spread[g] = spread;
      if (!spread) ++num_zero_spread_;
    }
    const Moments batch = batch_moments(sums);
    for (std::size_t g = 0; g < num_groups(); ++g)
      for (std::int64_t i = in_.group_offsets[g]; i < in_.group_offsets[g + 1]; ++i) {
        const auto s = static_cast<std::size_t>(i);
        if (is_included(i) && has_spread[g])
          result_.advantages[s] = (sums[s] - batch.mean) / (batch.deviation + config_.eps);
      }
  }

  // Weighted z-scores of a group's included samples; returns the largest sum of their sizes, which rounding is relative
  // to. A missing value adds nothing, and neither does a reward without spread.
  double sum_scores(std::size_t g, std::vector<double>& sums) const {
    const std::int64_t begin = in_.group_offsets[g], end = in_.group_offsets[g + 1];
    std::vector<double> sizes(static_cast<std::size_t>(end - begin), 0.0);
    for (std::int64_t i = begin; i < end; ++i)
      if (is_included(i)) sums[static_cast<std::size_t>(i)] = 0;
    for (std::size_t k = 0; k < in_.num_rewards; ++k) {
      if (is_absent(g, k)) continue;
      const Moments m = reward_moments(g, k);
      if (!m.has_spread) continue;
      for (std::int64_t i = begin; i < end; ++i) {
        if (!is_included(i) || std::isnan(reward(i, k))) continue;
        const double score = in_.weights[k] * (reward(i, k) - m.mean) / (m.deviation + config_.eps);
        sums[static_cast<std::size_t>(i)] += score;
        sizes[static_cast<std::size_t>(i - begin)] += std::abs(score);
      }
    }
    return sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end());
  }

  void write_metrics() {
    const Moments batch = moments_of(
        0, static_cast<std::int64_t>(num_samples_),
        [&](std::int64_t i) { return result_.totals[static_cast<std::size_t>(i)]; }, 1, 0);
    const double groups = static_cast<double>(std::max<std::size_t>(1, num_groups()));
    result_.metrics["reward"] = batch.n > 0 ? batch.mean : kNan;
    result_.metrics["reward_std"] = batch.deviation;
    result_.metrics["frac_reward_zero_std"] = num_zero_spread_ / groups;
    result_.metrics["rewards/num_missing"] =
        static_cast<double>(std::count(result_.included.begin(), result_.included.end(), std::uint8_t{0}));
  }

  const AdvantageInput& in_;
  const AdvantageConfig& config_;
  std::size_t num_samples_;
  AdvantageResult result_;
  double num_zero_spread_ = 0;
};

}  // namespace

AdvantageResult advantages(const AdvantageInput& input, const AdvantageConfig& config) {
  return AdvantageComputation(input, config).run();
}

std::vector<std::vector<double>> process_advantages(std::span<const StepReward> steps,
                                                    std::span<const std::int64_t> lengths,
                                                    const AdvantageConfig& config) {
  std::vector<std::vector<double>> result;
  for (std::int64_t length : lengths)
    result.emplace_back(static_cast<std::size_t>(std::max<std::int64_t>(0, length)), 0.0);
  double scale = 0;
  for (const StepReward& step : steps) {
    GRPO_CHECK(step.sample >= 0 && step.sample < static_cast<std::int64_t>(lengths.size()),
               fmt::format("process_advantages: step of sample {} of {}", step.sample, lengths.size()));
    GRPO_CHECK(step.token >= 0 && step.token < lengths[static_cast<std::size_t>(step.sample)],
               fmt::format("process_advantages: step at token {} of sample {}, which has {}", step.token, step.sample,
                           lengths[static_cast<std::size_t>(step.sample)]));
    GRPO_CHECK(std::isfinite(step.reward), "process_advantages: step rewards must be finite");
    scale = std::max(scale, std::abs(step.reward));
  }
  GRPO_CHECK(config.scale_rewards != ScaleRewards::Batch && config.baseline == Baseline::Mean,
             "process_advantages: expected scale_rewards group or none, and baseline mean");
  const Moments all = moments_of(
      0, static_cast<std::int64_t>(steps.size()),
      [&](std::int64_t i) { return steps[static_cast<std::size_t>(i)].reward; }, config.ddof, scale);
  if (!all.has_spread) return result;
  for (const StepReward& step : steps) {  // eq. 5
    const double normalized = config.scale_rewards == ScaleRewards::None
                                  ? step.reward - all.mean
                                  : (step.reward - all.mean) / (all.deviation + config.eps);
    std::vector<double>& tokens = result[static_cast<std::size_t>(step.sample)];
    for (std::int64_t t = 0; t <= step.token; ++t) tokens[static_cast<std::size_t>(t)] += normalized;
  }
  return result;
}

}  // namespace grpo::inline GRPO_ABI
