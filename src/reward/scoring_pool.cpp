#include "reward/scoring_pool.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

namespace grpo::inline GRPO_ABI {

struct ScoringPool::Job {
  std::size_t index = 0;  // in the calls of `run`
  std::shared_ptr<GroupCall> call;
};

// Shared by the supervisor and every worker, abandoned ones included.
struct ScoringPool::Core {
  std::mutex mutex;
  std::condition_variable work, news;
  std::deque<Job> queue;
  std::vector<Job> finished;
  std::size_t outstanding = 0;      // queued or running, without what was abandoned
  std::size_t num_abandoned = 0;    // threads that hang
  std::shared_ptr<GroupCall> lost;  // finished with lost answers, not counted yet; nothing starts then
  std::int64_t num_lost = 0;        // those answers
  Clock::time_point wake = Clock::time_point::max();  // when the supervisor looks by itself
  bool stopping = false;
};

struct ScoringPool::Worker {
  std::thread thread;
  std::optional<Job> job;  // this and the next under Core::mutex
  bool abandoned = false;
};

struct ScoringPool::Run {
  const MayContinue& may_continue;
  std::vector<std::shared_ptr<GroupCall>> results;
  std::int64_t num_lost = 0;
  bool gave_up = false;
};

ScoringPool::ScoringPool(int threads) : threads_(static_cast<std::size_t>(threads)), core_(std::make_shared<Core>()) {}

ScoringPool::~ScoringPool() {
  {
    const std::lock_guard lock(core_->mutex);
    core_->stopping = true;
  }
  core_->work.notify_all();
  for (const auto& worker : workers_) worker->thread.join();
}

void ScoringPool::work(const std::shared_ptr<Core>& core, const std::shared_ptr<Worker>& self) {
  std::unique_lock lock(core->mutex);
  while (true) {
    core->work.wait(lock, [&] { return core->stopping || (!core->queue.empty() && !core->lost); });
    if (core->stopping) return;
    Job job = std::move(core->queue.front());
    core->queue.pop_front();
    job.call->start();
    self->job = job;
    if (job.call->deadline() < core->wake) core->news.notify_one();
    lock.unlock();
    job.call->execute();
    lock.lock();
    if (self->abandoned) {
      --core->num_abandoned;
      lock.unlock();  // what dies with the call may take its time
      return;
    }
    self->job.reset();
    if (job.call->num_lost() > 0) {
      core->num_lost += job.call->num_lost();
      core->lost = job.call;
    }
    core->finished.push_back(std::move(job));
    if (--core->outstanding == 0 || core->lost) core->news.notify_one();
  }
}

// Needs Core::mutex. Goes on with fewer threads than wanted if the system gives no more.
void ScoringPool::start_workers(std::size_t wanted) {
  while (workers_.size() < std::min(wanted, threads_)) {
    auto worker = std::make_shared<Worker>();
    try {
      worker->thread = std::thread([core = core_, worker] { work(core, worker); });
    } catch (const std::system_error& error) {
      if (!workers_.empty()) return;
      core_->queue.clear();
      throw Error(std::string("RewardSet::score: cannot start a thread: ") + error.what(), ErrorKind::Internal);
    }
    workers_.push_back(std::move(worker));
  }
}

void ScoringPool::replace_expired(Run& run) {
  const Clock::time_point now = Clock::now();
  for (std::size_t i = 0; i < workers_.size();) {
    const std::shared_ptr<Worker> worker = workers_[i];
    if (!worker->job || worker->job->call->deadline() > now) {
      ++i;
      continue;
    }
    worker->abandoned = true;
    worker->thread.detach();
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
    ++run.num_lost;
    ++core_->num_abandoned;
    Job rest{worker->job->index, worker->job->call->after_timeout()};
    if (rest.call->has_work() && !run.gave_up) {
      core_->queue.push_front(std::move(rest));
    } else {
      if (!rest.call->has_work()) run.results[rest.index] = std::move(rest.call);
      --core_->outstanding;
    }
    give_up_unless_allowed(run, *worker->job->call);
    start_workers(core_->queue.size());
    core_->work.notify_all();
  }
}

void ScoringPool::count_lost(Run& run) {
  if (!core_->lost) return;
  run.num_lost += std::exchange(core_->num_lost, 0);
  give_up_unless_allowed(run, *std::exchange(core_->lost, nullptr));
  core_->work.notify_all();
}

void ScoringPool::give_up_unless_allowed(Run& run, const GroupCall& last) {
  if (run.gave_up || run.may_continue({run.num_lost, core_->num_abandoned, last})) return;
  run.gave_up = true;
  core_->outstanding -= core_->queue.size();
  core_->queue.clear();
}

void ScoringPool::wait_for_news(std::unique_lock<std::mutex>& lock) {
  core_->wake = Clock::time_point::max();
  for (const auto& worker : workers_) {
    if (worker->job) core_->wake = std::min(core_->wake, worker->job->call->deadline());
  }
  if (core_->wake == Clock::time_point::max()) {
    core_->news.wait(lock);
  } else {
    core_->news.wait_until(lock, core_->wake);
  }
}

std::vector<std::shared_ptr<GroupCall>> ScoringPool::run(const std::vector<std::shared_ptr<GroupCall>>& calls,
                                                         const MayContinue& may_continue) {
  Run run{may_continue, std::vector<std::shared_ptr<GroupCall>>(calls.size()), 0, false};
  std::unique_lock lock(core_->mutex);
  for (std::size_t i = 0; i < calls.size(); ++i) core_->queue.push_back({i, calls[i]});
  core_->finished.clear();
  core_->outstanding = calls.size();
  start_workers(calls.size());
  core_->work.notify_all();
  while (core_->outstanding > 0) {
    wait_for_news(lock);
    replace_expired(run);
    count_lost(run);
  }
  for (Job& job : core_->finished) run.results[job.index] = std::move(job.call);
  return std::move(run.results);
}

}  // namespace grpo::inline GRPO_ABI
