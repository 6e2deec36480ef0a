#include <grpo/algo.h>

#include <algorithm>

namespace grpo::inline GRPO_ABI {

void add_loss_sums(std::map<std::string, double>& into, const std::map<std::string, double>& from) {
  for (const auto& [name, value] : from) {
    const auto [it, is_new] = into.try_emplace(name, value);
    if (is_new) continue;
    if (name.starts_with("min:")) {
      it->second = std::min(it->second, value);
    } else if (name.starts_with("max:")) {
      it->second = std::max(it->second, value);
    } else {
      it->second += value;
    }
  }
}

std::map<std::string, double> finish_loss_metrics(const std::map<std::string, double>& sums) {
  std::map<std::string, double> metrics;
  const auto sum = [&](const char* name) {
    const auto it = sums.find(name);
    return it == sums.end() ? 0.0 : it->second;
  };
  const auto mean = [&](const char* metric, const char* name, const char* count) {
    if (sums.contains(name) && sum(count) > 0) metrics[metric] = sum(name) / sum(count);
  };
  const auto copy = [&](const char* metric, const char* name) {
    if (sums.contains(name)) metrics[metric] = sum(name);
  };
  copy("policy_loss", "policy_loss");
  mean("kl", "kl", "tokens");
  mean("entropy", "entropy", "tokens");
  mean("advantage_logp", "advantage_logp", "tokens");
  mean("ratio/mean", "ratio", "ratio_count");
  copy("ratio/min", "min:ratio");
  copy("ratio/max", "max:ratio");
  mean("clip_ratio/low_mean", "clip_low", "clip_count");
  mean("clip_ratio/high_mean", "clip_high", "clip_count");
  copy("clip_ratio/low_min", "min:clip_low");
  copy("clip_ratio/high_max", "max:clip_high");
  if (sum("clip_count") > 0)
    metrics["clip_ratio/region_mean"] = (sum("clip_low") + sum("clip_high")) / sum("clip_count");
  mean("cispo_clip_ratio", "cispo_capped", "cispo_count");
  mean("sampling/sampling_logp_difference/mean", "sampling_difference", "tokens");
  copy("sampling/sampling_logp_difference/max", "max:sampling_difference");
  mean("sampling/importance_sampling_ratio/mean", "correction", "tokens");
  copy("sampling/importance_sampling_ratio/min", "min:correction");
  copy("sampling/importance_sampling_ratio/max", "max:correction");
  return metrics;
}

}  // namespace grpo::inline GRPO_ABI
