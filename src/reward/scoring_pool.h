// Worker threads that run GroupCalls against their deadlines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "reward/group_call.h"

namespace grpo::inline GRPO_ABI {

// One supervisor thread uses it. A worker that hangs is detached and replaced; it owns everything it may still touch.
class ScoringPool {
 public:
  explicit ScoringPool(int threads);
  ~ScoringPool();
  ScoringPool(const ScoringPool&) = delete;
  ScoringPool& operator=(const ScoringPool&) = delete;

  struct Trouble {
    std::int64_t num_lost = 0;      // timeouts and broken workers of this run
    std::size_t num_abandoned = 0;  // threads that still hang, of all runs
    const GroupCall& last;          // the call that was in trouble last
  };
  // Runs `calls` and returns them finished, in order; what hung is replaced by what the timeout left of it. Once
  // `may_continue` is false no further call is started; those come back as null.
  using MayContinue = std::function<bool(const Trouble&)>;
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
  void count_lost(Run& run);
  void give_up_unless_allowed(Run& run, const GroupCall& last);
  void wait_for_news(std::unique_lock<std::mutex>& lock);

  std::size_t threads_;
  std::shared_ptr<Core> core_;
  std::vector<std::shared_ptr<Worker>> workers_;
};

}  // namespace grpo::inline GRPO_ABI
