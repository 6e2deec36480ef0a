#include "metrics/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "base/log.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kRedraw{250};

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

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool is_terminal() {
  const char* kind = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

class Console final : public MetricSink {
 public:
  Console(std::string run_name, std::int64_t max_steps)
      : run_name_(std::move(run_name)), max_steps_(max_steps), is_terminal_(is_terminal()) {}
  Console(std::string run_name, std::int64_t max_steps, std::int64_t steps_done, const Phases* phases)
      : Console(std::move(run_name), max_steps) {
    phases_ = phases;
    step_ = first_step_ = steps_done;
    first_time_ = last_time_ = Clock::now();
    if (is_terminal_) redraws_ = std::thread([this] { redraw(); });
  }

  ~Console() override {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    end_.notify_all();
    if (redraws_.joinable()) redraws_.join();
    if (!is_terminal_) return;
    log::set_live_line("");
    if (!step_line_.empty()) log::line(step_line_);  // the last step stays
  }

  void write(std::int64_t step, const Metrics& metrics) override {
    const std::lock_guard lock(mutex_);
    last_time_ = Clock::now();
    step_ = step;
    if (first_step_ < 0) {
      first_step_ = step;
      first_time_ = last_time_;
    }
    if (const auto it = metrics.find("reward"); it != metrics.end()) reward_ = it->second;
    if (const auto it = metrics.find("loss"); it != metrics.end()) loss_ = it->second;
    step_line_ = line_of(metrics);
    // A terminal keeps one line; elsewhere every step is a line of its own.
    if (!is_terminal_) {
      log::line(step_line_);
    } else if (phases_ == nullptr) {
      log::set_live_line(step_line_);
    }
  }

 private:
  // Everything below is called with mutex_ held.

  std::optional<double> seconds_per_step() const {
    if (step_ <= first_step_) return {};
    return seconds_between(first_time_, last_time_) / static_cast<double>(step_ - first_step_);
  }
  std::string head() const { return fmt::format("{} {}/{}", run_name_, step_, max_steps_); }

  std::string line_of(const Metrics& metrics) const {
    std::string line = head();
    for (const Column& column : kColumns) {
      const auto it = metrics.find(column.metric);
      if (it != metrics.end())
        line += fmt::format("  {} {}", column.label, fmt::format(fmt::runtime(column.format), it->second));
    }
    if (const auto it = metrics.find("step_time"); it != metrics.end()) line += fmt::format("  {:.2f} s", it->second);
    if (const std::optional<double> seconds = seconds_per_step())
      line += fmt::format("  left {}", duration(*seconds * static_cast<double>(max_steps_ - step_)));
    return line;
  }

  std::string live_line() const {
    const Phases::Now now = phases_->now();
    std::string line = head();
    if (now.total > 0)
      line += fmt::format("  {} {}/{} {}", now.name, now.done, now.total, now.unit);
    else if (!now.name.empty())
      line += "  " + now.name;
    if (const std::optional<double> reward = now.reward ? now.reward : reward_)
      line += fmt::format("  reward {:.3f}", *reward);
    else if (loss_)
      line += fmt::format("  loss {:.4f}", *loss_);
    if (const std::optional<double> seconds = seconds_per_step()) {
      const double left =
          *seconds * static_cast<double>(max_steps_ - step_) - seconds_between(last_time_, Clock::now());
      line += fmt::format("  {:.{}f} s/step  left {}", *seconds, *seconds < 10 ? 2 : 0, duration(std::max(0.0, left)));
    }
    return line;
  }

  void redraw() {
    std::unique_lock lock(mutex_);
    while (!ended_) {
      log::set_live_line(live_line());
      end_.wait_for(lock, kRedraw, [this] { return ended_; });
    }
  }

  const std::string run_name_;
  const std::int64_t max_steps_;
  const bool is_terminal_;
  const Phases* phases_ = nullptr;  // null: no thread
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;
  std::int64_t step_ = 0, first_step_ = -1;
  Clock::time_point first_time_, last_time_;
  std::optional<double> reward_, loss_;
  std::string step_line_;
  std::thread redraws_;
};

}  // namespace

std::unique_ptr<MetricSink> console_sink(const std::string& run_name, std::int64_t max_steps) {
  return std::make_unique<Console>(run_name, max_steps);
}

std::unique_ptr<MetricSink> console_sink(const std::string& run_name, std::int64_t max_steps, std::int64_t steps_done,
                                         const Phases& phases) {
  return std::make_unique<Console>(run_name, max_steps, steps_done, &phases);
}

}  // namespace grpo::inline GRPO_ABI
