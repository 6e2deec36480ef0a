#include <algorithm>
#include <cmath>
#include <unordered_map>

#include <grpo/pipeline.h>

#include "pipeline/summary.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Two-sided: twice the chance of at most min(better, worse) heads in better + worse tosses.
double sign_test(std::int64_t better, std::int64_t worse) {
  if (better == worse) return 1.0;
  const auto tosses = static_cast<double>(better + worse);
  double tail = 0;
  for (std::int64_t heads = 0; heads <= std::min(better, worse); ++heads) {
    const auto h = static_cast<double>(heads);
    const double log_ways = std::lgamma(tosses + 1) - std::lgamma(h + 1) - std::lgamma(tosses - h + 1);
    tail += std::exp(log_ways - tosses * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace

Comparison compare(const Evaluation& before, const Evaluation& after) {
  std::unordered_map<std::uint64_t, double> earlier;
  for (const Evaluation::Problem& problem : before.problems) earlier.emplace(problem.row, problem.pass_at_1);
  Comparison result;
  std::vector<double> differences;
  for (const Evaluation::Problem& problem : after.problems) {
    const auto found = earlier.find(problem.row);
    if (found == earlier.end()) continue;
    differences.push_back(problem.pass_at_1 - found->second);
    result.better += differences.back() > 0 ? 1 : 0;
    result.worse += differences.back() < 0 ? 1 : 0;
  }
  GRPO_CHECK(!differences.empty(), "compare: expected evaluations of the same problems, got none in common");
  result.n = static_cast<std::int64_t>(differences.size());
  const MeanAndError difference = mean_and_error(differences);
  result.difference = difference.mean;
  result.standard_error = difference.standard_error;
  result.p_value = sign_test(result.better, result.worse);
  return result;
}

Json to_json(const Comparison& comparison) {
  return Json::Object{
      {"n", comparison.n},           {"pass@1", comparison.difference}, {"stderr", comparison.standard_error},
      {"better", comparison.better}, {"worse", comparison.worse},       {"p_value", comparison.p_value}};
}

}  // namespace grpo::inline GRPO_ABI
