#include <algorithm>
#include <set>

#include "metrics/report.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct Line {
  const char *label, *metric;
};
struct Kind {
  const char* title;
  std::vector<Line> lines;
  bool share = false;
};

// In the order of the page. A metric that no run has is left out, and so is a chart without lines.
const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"Answer length, tokens",
       {{"mean", "completions/mean_length"},
        {"mean of finished", "completions/mean_terminated_length"},
        {"longest", "completions/max_length"}}},
      {"Cut off, and without spread",
       {{"answers cut off", "completions/clipped_ratio"}, {"groups without spread", "frac_reward_zero_std"}},
       true},
      {"Repeated and mixed text",
       {{"3-grams said before", "completions/repetition"}, {"words in another script", "completions/language_mixing"}},
       true},
      {"Reflective words per answer", {{"mean", "completions/reflective_words"}}},
      {"Spread of rewards", {{"standard deviation", "reward_std"}}},
      {"KL to the reference", {{"KL", "kl"}}},
      {"Entropy, nats", {{"entropy", "entropy"}}},
      {"Clipped tokens",
       {{"below", "clip_ratio/low_mean"}, {"above", "clip_ratio/high_mean"}, {"either", "clip_ratio/region_mean"}},
       true},
      {"Probability ratio", {{"mean", "ratio/mean"}, {"smallest", "ratio/min"}, {"largest", "ratio/max"}}},
      {"Loss", {{"loss", "loss"}}},
      {"Gradient norm, before clipping", {{"norm", "grad_norm"}}},
      {"Learning rate", {{"rate", "learning_rate"}}},
      {"Seconds per step",
       {{"step", "step_time"},
        {"sampling", "time/rollout/sampling"},
        {"scoring", "time/rollout/scoring"},
        {"update", "time/update"},
        {"optimizer", "time/optimizer"},
        {"evaluation", "time/evaluation"},
        {"checkpoint", "time/checkpoint"}}},
      {"Tokens per second", {{"sampled", "throughput/rollout/sampling"}, {"trained on", "throughput/update"}}},
  };
  return all;
}

constexpr std::string_view kMean = "/mean", kRewards = "rewards/", kEval = "eval_";

// "accuracy" of "rewards/accuracy/mean"; empty for other names.
std::string reward_name(std::string_view metric) {
  if (!metric.starts_with(kRewards) || !metric.ends_with(kMean) || metric.size() <= kRewards.size() + kMean.size())
    return {};
  return std::string(metric.substr(kRewards.size(), metric.size() - kRewards.size() - kMean.size()));
}

std::vector<Kind> kinds_of(const std::vector<RunRecord>& runs, std::set<std::string>& names) {
  for (const RunRecord& run : runs)
    for (const auto& [name, curve] : run.metrics) names.insert(name);
  Kind reward{"Reward", {}}, evaluation{"On held-out prompts", {}};
  if (names.contains("reward")) reward.lines.push_back({"total", "reward"});
  for (const std::string& name : names) {
    const bool held_out = name.starts_with(kEval);
    const std::string_view metric = held_out ? std::string_view(name).substr(kEval.size()) : std::string_view(name);
    if (metric == "reward" && held_out) evaluation.lines.push_back({"total", name.c_str()});
    if (!reward_name(metric).empty()) (held_out ? evaluation : reward).lines.push_back({nullptr, name.c_str()});
  }
  std::vector<Kind> all = {reward, evaluation};
  all.insert(all.end(), kinds().begin(), kinds().end());
  return all;
}

std::string label_of(const Line& line) {
  if (line.label != nullptr) return line.label;
  const std::string_view metric = line.metric;
  return reward_name(metric.starts_with(kEval) ? metric.substr(kEval.size()) : metric);
}

}  // namespace

std::vector<Chart> charts_of(const std::vector<RunRecord>& runs) {
  std::set<std::string> names;  // holds what the lines of kinds_of point to
  std::vector<Chart> charts;
  for (const Kind& kind : kinds_of(runs, names)) {
    Chart together{kind.title, {}, kind.share};
    for (const Line& line : kind.lines) {
      Chart apart{kind.title, {}, kind.share};
      if (kind.lines.size() > 1) apart.title += ": " + label_of(line);
      for (std::size_t r = 0; r < runs.size(); ++r) {
        const Curve* curve = runs[r].find(line.metric);
        if (curve == nullptr || curve->empty()) continue;
        if (runs.size() == 1)
          together.series.push_back({label_of(line), *curve, together.series.size()});
        else
          apart.series.push_back({runs[r].name, *curve, r});
      }
      if (!apart.series.empty()) charts.push_back(std::move(apart));
    }
    if (!together.series.empty()) charts.push_back(std::move(together));
  }
  return charts;
}

}  // namespace grpo::inline GRPO_ABI
