#include "ops/threads.h"

#include <omp.h>
#include <sched.h>

#include <atomic>
#include <string>

#include <ATen/Parallel.h>

#include <grpo/ops.h>

namespace grpo::inline GRPO_ABI {
namespace {

void run_in_pool(int num_tasks, void (*task)(void* arg, int index), void* arg) {
  at::parallel_for(0, num_tasks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) task(arg, static_cast<int>(i));
  });
}

void run_side_by_side(int size, void (*body)(void* arg, int index, int count), void* arg) {
  if (size <= 1 || omp_in_parallel()) return body(arg, 0, 1);
#pragma omp parallel num_threads(size)
  body(arg, omp_get_thread_num(), omp_get_num_threads());
}

int allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::atomic<kernels::Isa>& chosen_isa() {
  static std::atomic<kernels::Isa> isa{kernels::best_isa()};
  return isa;
}

}  // namespace

}  // namespace grpo::inline GRPO_ABI

namespace grpo::ops {

kernels::Team team() { return {at::get_num_threads(), &run_in_pool, &run_side_by_side}; }
kernels::Isa isa() { return chosen_isa().load(std::memory_order_relaxed); }

}  // namespace grpo::ops

namespace grpo::inline GRPO_ABI {

void set_threads(int threads) {
  GRPO_CHECK(threads >= 0, "[set_threads] threads: expected 0 (all) or more, got " + std::to_string(threads));
  at::set_num_threads(threads == 0 ? allowed_cpus() : threads);
}

int num_threads() { return at::get_num_threads(); }

std::string isa_name() { return kernels::name(ops::isa()); }

void force_isa(const std::string& isa) {
  if (isa.empty()) {
    chosen_isa() = kernels::best_isa();
    return;
  }
  for (const kernels::Isa candidate : kernels::kIsas) {
    if (isa != kernels::name(candidate)) continue;
    GRPO_CHECK(kernels::isa_runs(candidate), "[force_isa] isa: this CPU does not run " + isa);
    chosen_isa() = candidate;
    return;
  }
  throw Error("[force_isa] isa: expected scalar, avx2, avx512, avx512bf16, amx or nothing, got \"" + isa + "\"");
}

}  // namespace grpo::inline GRPO_ABI
