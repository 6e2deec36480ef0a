#include "train/invariants.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace grpo::inline GRPO_ABI {
namespace {

std::int64_t num_included(const RolloutGroup& group) {
  return std::count_if(group.included.begin(), group.included.end(), [](std::uint8_t included) { return included; });
}

}  // namespace

double incomplete_groups(const std::vector<RolloutGroup>& groups, int num_generations) {
  return static_cast<double>(std::count_if(
      groups.begin(), groups.end(), [&](const RolloutGroup& group) { return num_included(group) < num_generations; }));
}

double largest_advantage_sum(const std::vector<RolloutGroup>& groups) {
  double largest = 0;
  for (const RolloutGroup& group : groups)
    largest = std::max(largest, std::abs(std::accumulate(group.advantages.begin(), group.advantages.end(), 0.0)));
  return largest;
}

double mask_sum_error(double unmasked_tokens, const std::vector<AnswerRef>& answers, bool mask_truncated) {
  std::int64_t wanted = 0;
  for (const AnswerRef& answer : answers) {
    const Completion& completion = answer.group->completions[answer.completion];
    const bool is_truncated = completion.finish_reason == FinishReason::Length;
    if (answer.group->included[answer.completion] && !(mask_truncated && is_truncated))
      wanted += static_cast<std::int64_t>(completion.ids.size());
  }
  return std::abs(unmasked_tokens - static_cast<double>(wanted));
}

}  // namespace grpo::inline GRPO_ABI
