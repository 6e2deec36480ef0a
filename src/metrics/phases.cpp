#include "metrics/phases.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace grpo::inline GRPO_ABI {

void Phases::enter(const char* name) {
  const std::lock_guard lock(mutex_);
  Open phase;
  if (!open_.empty()) phase.path = open_.back().path + "/";
  phase.name_at = phase.path.size();
  phase.path += name;
  phase.start = Clock::now();
  open_.push_back(std::move(phase));
}

void Phases::leave() {
  const Clock::time_point end = Clock::now();
  std::unique_lock lock(mutex_);
  const Open phase = std::move(open_.back());
  open_.pop_back();
  Sum& sum = sums_[phase.path];
  sum.seconds += std::chrono::duration<double>(end - phase.start).count();
  sum.tokens += phase.tokens;
  lock.unlock();
  if (!on_span_) return;
  try {
    on_span_({phase.path, phase.start, end});
  } catch (const std::exception& error) {
    on_span_ = nullptr;
    log::warn(std::string("phases are no longer recorded: ") + error.what());
  }
}

Metrics Phases::take_metrics() {
  const std::lock_guard lock(mutex_);
  Metrics metrics;
  for (const auto& [path, sum] : sums_) {
    metrics["time/" + path] = sum.seconds;
    if (sum.tokens > 0) metrics["throughput/" + path] = static_cast<double>(sum.tokens) / std::max(sum.seconds, 1e-9);
  }
  sums_.clear();
  return metrics;
}

Phases::Now Phases::now() const {
  const std::lock_guard lock(mutex_);
  Now now;
  now.reward = reward_;
  if (open_.empty()) return now;
  const auto counts = std::find_if(open_.rbegin(), open_.rend(), [](const Open& phase) { return phase.total > 0; });
  const Open& phase = counts == open_.rend() ? open_.back() : *counts;
  now.name = phase.path.substr(phase.name_at);
  now.unit = phase.unit;
  now.done = phase.done;
  now.total = phase.total;
  return now;
}

void Phases::set_reward(double mean) {
  const std::lock_guard lock(mutex_);
  reward_ = mean;
}

void Phases::on_span(std::function<void(const Span&)> callback) { on_span_ = std::move(callback); }

void Phase::progress(std::int64_t done, std::int64_t total, const char* unit) {
  if (phases_ == nullptr) return;
  const std::lock_guard lock(phases_->mutex_);
  Phases::Open& phase = phases_->open_.back();
  phase.done = done;
  phase.total = total;
  phase.unit = unit;
}

void Phase::add_tokens(std::int64_t count) {
  if (phases_ == nullptr) return;
  const std::lock_guard lock(phases_->mutex_);
  phases_->open_.back().tokens += count;
}

}  // namespace grpo::inline GRPO_ABI
