#include "pipeline/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kFirstSamples = 8;

// By which reward a draw is right, and what it reads as the draw's answer.
struct Decider {
  const RewardSet& rewards;
  std::size_t reward = 0;
  const SampleAndScore& request;

  bool is_right(const RolloutGroup& group, std::size_t draw) const { return group.rewards[draw][reward] >= 1.0; }
  std::optional<std::string> answer(const RolloutGroup& group, std::size_t draw) const {
    return rewards.answer(reward, reward_input(group, group.completions[draw], rewards, request));
  }
};

// The draw with the answer most draws agree on, the first seen among equals; draws without an answer do not vote.
std::optional<std::size_t> majority(const RolloutGroup& group, const Decider& decider) {
  std::map<std::string, std::pair<int, std::size_t>> votes;  // answer -> (count, first draw)
  for (std::size_t c = 0; c < group.completions.size(); ++c) {
    const std::optional<std::string> answer = decider.answer(group, c);
    if (!answer || answer->empty()) continue;
    auto [it, is_new] = votes.try_emplace(*answer, 0, c);
    ++it->second.first;
  }
  std::optional<std::size_t> best;
  int best_count = 0;
  for (const auto& [answer, vote] : votes)
    if (vote.first > best_count || (vote.first == best_count && vote.second < *best)) {
      best_count = vote.first;
      best = vote.second;
    }
  return best;
}

// Adds one prompt's draws; returns the share that is right.
double add_group(const RolloutGroup& group, const Decider& decider, Evaluation& sum) {
  std::int64_t right = 0;
  for (std::size_t c = 0; c < group.completions.size(); ++c) {
    right += decider.is_right(group, c) ? 1 : 0;
    sum.mean_length += static_cast<double>(group.completions[c].ids.size());
    sum.truncated += group.completions[c].finish_reason == FinishReason::Length ? 1 : 0;
  }
  const auto n = static_cast<std::int64_t>(group.completions.size());
  sum.pass_at_k += pass_at_k(n, right, n);
  const std::optional<std::size_t> vote = majority(group, decider);
  sum.cons_at_k += vote && decider.is_right(group, *vote) ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(n);
}

}  // namespace

double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k) {
  GRPO_CHECK(n >= 1 && c >= 0 && c <= n && k >= 1 && k <= n,
             fmt::format("pass_at_k: expected 0 <= c <= n and 1 <= k <= n, got n {}, c {}, k {}", n, c, k));
  if (n - c < k) return 1.0;
  double none_right = 1.0;  // C(n-c, k) / C(n, k)
  for (std::int64_t i = n - c + 1; i <= n; ++i) none_right *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1.0 - none_right;
}

MeanAndError mean_and_error(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (double value : values) sum += value;
  const double mean = sum / n;
  for (double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / (n - 1) / n) : 0.0};
}

Evaluation summarise(std::span<const RolloutGroup> groups, const RewardSet& rewards, std::size_t reward,
                     const SampleAndScore& request) {
  Evaluation result;
  result.n = static_cast<std::int64_t>(groups.size());
  result.k = request.num_generations;
  std::vector<double> shares;
  shares.reserve(groups.size());
  result.problems.reserve(groups.size());
  const Decider decider{rewards, reward, request};
  for (const RolloutGroup& group : groups) {
    shares.push_back(add_group(group, decider, result));
    result.problems.push_back({group.prompt.row, shares.back()});
  }
  const MeanAndError pass_at_1 = mean_and_error(shares);
  result.pass_at_1 = pass_at_1.mean;
  result.standard_error = pass_at_1.standard_error;
  const auto n = static_cast<double>(result.n);
  result.pass_at_k /= n;
  result.cons_at_k /= n;
  result.mean_length /= n * result.k;
  result.truncated /= n * result.k;
  for (std::size_t g = 0; g < std::min(kFirstSamples, groups.size()); ++g)
    result.first_samples.push_back(
        {groups[g].prompt.text, groups[g].completions[0].text, groups[g].rewards[0][reward]});
  return result;
}

}  // namespace grpo::inline GRPO_ABI
