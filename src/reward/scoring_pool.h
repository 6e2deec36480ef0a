// Worker threads that run GroupCalls against their deadlines.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "reward/group_call.h"

namespace grpo {

// One supervisor thread uses it. A worker that hangs is detached and replaced; it owns everything it may still touch.
class ScoringPool {
 public:
  explicit ScoringPool(int threads);
  ~ScoringPool();
  ScoringPool(const ScoringPool&) = delete;
  ScoringPool& operator=(const ScoringPool&) = delete;

  // Runs `calls` and returns them finished, in order; what hung is replaced by what the timeout left of it. Once
  // `may_continue(timeouts so far, the call that hung)` is false no further call is started; those come back as null.
  using MayContinue = std::function<bool(std::int64_t, const GroupCall&)>;
  std::vector<std::shared_ptr<GroupCall>> run(const std::vector<std::shared_ptr<GroupCall>>& calls,
                                              const MayContinue& may_continue);

 private:
  struct Job;
  struct Core;
  struct Worker;
  struct Run;
  static void work(const std::shared_ptr<Core>& core, const std::shared_ptr<Worker>& self);
  void start_workers(std::size_t wanted);
  void replace_expired(Run& run);
  void wait_for_news(std::unique_lock<std::mutex>& lock);

  std::size_t threads_;
  std::shared_ptr<Core> core_;
  std::vector<std::shared_ptr<Worker>> workers_;
};

}  // namespace grpo
