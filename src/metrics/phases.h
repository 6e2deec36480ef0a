// What a run is at and for how long: nested, named spans of one thread, which other threads may look at.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <grpo/metrics.h>

namespace grpo::inline GRPO_ABI {

class Phases {
 public:
  using Clock = std::chrono::steady_clock;

  // `time/<phase>` in seconds since the last call, and `throughput/<phase>` in tokens per second where tokens were
  // counted. A nested phase is named behind the one around it (rollout/sampling), whose time includes its own.
  Metrics take_metrics();

  // For a console. The innermost phase that counts something, else the innermost; empty name: between phases.
  struct Now {
    std::string name, unit;
    std::int64_t done = 0, total = 0;  // total 0: nothing is counted
    std::optional<double> reward;      // mean of the newest rollout that was scored
  };
  Now now() const;
  void set_reward(double mean);

  // Called by the thread that works at the end of every span; what it throws ends the calls.
  struct Span {
    const std::string& path;
    Clock::time_point start, end;
  };
  void on_span(std::function<void(const Span&)> callback);

 private:
  friend class Phase;
  struct Open {
    std::string path;
    std::size_t name_at = 0;  // where its own name starts in the path
    Clock::time_point start;
    const char* unit = "";
    std::int64_t done = 0, total = 0, tokens = 0;
  };
  struct Sum {
    double seconds = 0;
    std::int64_t tokens = 0;
  };
  void enter(const char* name);
  void leave();

  mutable std::mutex mutex_;
  std::vector<Open> open_;
  std::map<std::string, Sum> sums_;
  std::optional<double> reward_;
  std::function<void(const Span&)> on_span_;  // set and called by the thread that works
};

// One span, from here to the end of the block; the innermost one while it counts. With null nothing is recorded.
class Phase {
 public:
  Phase(Phases* phases, const char* name) : phases_(phases) {
    if (phases_ != nullptr) phases_->enter(name);
  }
  ~Phase() {
    if (phases_ != nullptr) phases_->leave();
  }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;

  void progress(std::int64_t done, std::int64_t total, const char* unit);
  void add_tokens(std::int64_t count);

 private:
  Phases* phases_;
};

}  // namespace grpo::inline GRPO_ABI
