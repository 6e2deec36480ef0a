// The caller's thread team, handed in as one function so that kernels/ knows no thread library.
#pragma once

#include <atomic>
#include <cstdint>

namespace grpo::kernels {

struct Team {
  int size = 1;
  // Calls task(arg, i) once for every i in [0, num_tasks), on any threads; returns when all are done.
  void (*run)(int num_tasks, void (*task)(void* arg, int index), void* arg) = [](int num_tasks,
                                                                                 void (*task)(void*, int), void* arg) {
    for (int i = 0; i < num_tasks; ++i) task(arg, i);
  };

  // Calls body(arg, i, n) for i = 0 .. n - 1 on n <= size threads side by side, which may wait for each other. For that
  // reason an exception of a body ends the process.
  void (*together)(int size, void (*body)(void* arg, int index, int count),
                   void* arg) = [](int, void (*body)(void*, int, int), void* arg) { body(arg, 0, 1); };

  // f(begin, end) over contiguous pieces of [0, n), at most one piece per thread, none smaller than `grain`.
  // Kernels are written so that no result depends on where the pieces are cut.
  template <class F>
  void split(std::int64_t n, std::int64_t grain, const F& f) const {
    if (n <= 0) return;
    std::int64_t pieces = (n + grain - 1) / grain;
    if (pieces > size) pieces = size;
    if (pieces <= 1) {
      f(std::int64_t{0}, n);
      return;
    }
    struct Job {
      const F& f;
      std::int64_t n, pieces;
    } job{f, n, pieces};
    run(
        static_cast<int>(pieces),
        [](void* arg, int i) {
          const Job& j = *static_cast<const Job*>(arg);
          j.f(j.n * i / j.pieces, j.n * (i + 1) / j.pieces);
        },
        &job);
  }

  // f(index, count) on up to `most` threads side by side.
  template <class F>
  void side_by_side(int most, const F& f) const {
    together(
        most < size ? most : size, [](void* arg, int index, int count) { (*static_cast<const F*>(arg))(index, count); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }
};

// Runs up to `threads` workers side by side; worker(next) takes units with next() until it returns -1.
template <class Worker>
void share_units(const Team& team, std::int64_t units, std::int64_t threads, const Worker& worker) {
  std::atomic<std::int64_t> taken{0};
  const auto next = [&] {
    const std::int64_t unit = taken.fetch_add(1, std::memory_order_relaxed);
    return unit < units ? unit : -1;
  };
  team.split(units < threads ? units : threads, 1, [&](std::int64_t, std::int64_t) { worker(next); });
}

// Where threads that run side by side wait for each other. They spin for some milliseconds, for a sleeper comes late to
// the next barrier too; then they sleep, since the thread that they wait for may need their core.
class Barrier {
 public:
  // For all `count` threads of a region.
  void wait(int count) {
    if (count == 1) return;
    const int round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == count - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      round_.notify_all();
      return;
    }
    for (int spins = 0; spins < kSpins; ++spins) {
      if (round_.load(std::memory_order_acquire) != round) return;
      __builtin_ia32_pause();
    }
    round_.wait(round, std::memory_order_acquire);
  }

 private:
  static constexpr int kSpins = 200000;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

}  // namespace grpo::kernels
