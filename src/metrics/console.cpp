#include <fmt/format.h>
#include <grpo/metrics.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace grpo::inline GRPO_ABI {
namespace {

// What people watch, in this order, where a run has it.
struct Column {
  const char* metric;
  const char* label;
  const char* format;
};
constexpr std::array<Column, 8> kColumns = {{{"loss", "loss", "{:.4f}"},
                                             {"reward", "reward", "{:.3f}"},
                                             {"reward_std", "std", "{:.3f}"},
                                             {"completions/mean_length", "len", "{:.0f}"},
                                             {"kl", "kl", "{:.4f}"},
                                             {"entropy", "ent", "{:.2f}"},
                                             {"grad_norm", "grad", "{:.2f}"},
                                             {"eval_reward", "eval", "{:.3f}"}}};

std::string duration(double seconds) {
  const auto s = static_cast<long>(std::llround(seconds));
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  if (s >= 60) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}s", s);
}

class ConsoleSink final : public MetricSink {
 public:
  ConsoleSink(std::string run_name, std::int64_t max_steps)
      : run_name_(std::move(run_name)), max_steps_(max_steps), is_terminal_(isatty(STDERR_FILENO) == 1) {}
  ~ConsoleSink() override {
    if (is_terminal_ && first_step_ >= 0) std::fputc('\n', stderr);
  }

  void write(std::int64_t step, const Metrics& metrics) override {
    const auto now = std::chrono::steady_clock::now();
    if (first_step_ < 0) {
      first_step_ = step;
      first_time_ = now;
    }
    std::string line = fmt::format("{} {}/{}", run_name_, step, max_steps_);
    for (const Column& column : kColumns) {
      const auto it = metrics.find(column.metric);
      if (it != metrics.end())
        line += fmt::format("  {} {}", column.label, fmt::format(fmt::runtime(column.format), it->second));
    }
    if (const auto it = metrics.find("step_time"); it != metrics.end()) line += fmt::format("  {:.2f} s", it->second);
    if (step > first_step_) {
      const double per_step =
          std::chrono::duration<double>(now - first_time_).count() / static_cast<double>(step - first_step_);
      line += fmt::format("  left {}", duration(per_step * static_cast<double>(max_steps_ - step)));
    }
    // A terminal keeps one line; elsewhere every step is a line of its own.
    if (is_terminal_) {
      std::fputs(fmt::format("\r\x1b[K{}", line).c_str(), stderr);
    } else {
      std::fputs((line + "\n").c_str(), stderr);
    }
    std::fflush(stderr);
  }

 private:
  std::string run_name_;
  std::int64_t max_steps_;
  bool is_terminal_;
  std::int64_t first_step_ = -1;
  std::chrono::steady_clock::time_point first_time_;
};

}  // namespace

std::unique_ptr<MetricSink> console_sink(const std::string& run_name, std::int64_t max_steps) {
  return std::make_unique<ConsoleSink>(run_name, max_steps);
}

}  // namespace grpo::inline GRPO_ABI
