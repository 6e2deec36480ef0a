// Where numbers of a run go. Names are TRL's: reward, kl, completions/mean_length, rewards/<name>/mean, eval_* ...
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

using Metrics = std::map<std::string, double>;

class GRPO_API MetricSink {
 public:
  virtual ~MetricSink() = default;
  // `step` counts from 1. Called by one thread, steps ascending.
  virtual void write(std::int64_t step, const Metrics& metrics) = 0;
};

// One JSON object a step, appended to `path` and flushed: {"step": 1, "reward": ...}; NaN is null.
GRPO_API std::unique_ptr<MetricSink> jsonl_sink(const std::string& path);
// An event file for TensorBoard, in `folder`, which exists.
GRPO_API std::unique_ptr<MetricSink> tensorboard_sink(const std::string& folder);
// A file for the textfile collector of Prometheus' node exporter, replaced at every step: grpo_reward{run="name"} 0.25.
GRPO_API std::unique_ptr<MetricSink> prometheus_sink(const std::string& path, const std::string& run_name);
// One line a step on stderr: progress, time left, and the numbers people watch. Rewritten in place on a terminal.
GRPO_API std::unique_ptr<MetricSink> console_sink(const std::string& run_name, std::int64_t max_steps);

// One self-contained HTML page: curves, answers of the first, middle and last step, configuration; several runs are
// laid over each other. Reads metrics.jsonl, completions.jsonl and config.resolved.yaml of each folder; replaces `path`
// as a whole.
GRPO_API void write_report(const std::vector<std::string>& folders, const std::string& path);

}  // namespace grpo::inline GRPO_ABI
