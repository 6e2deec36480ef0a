// The caller's thread team, handed in as one function so that kernels/ knows no thread library.
#pragma once

#include <cstdint>

namespace grpo::kernels {

struct Team {
  int size = 1;
  // Calls task(arg, i) once for every i in [0, num_tasks), on any threads; returns when all are done.
  void (*run)(int num_tasks, void (*task)(void* arg, int index), void* arg) = [](int num_tasks,
                                                                                 void (*task)(void*, int), void* arg) {
    for (int i = 0; i < num_tasks; ++i) task(arg, i);
  };

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
};

}  // namespace grpo::kernels
