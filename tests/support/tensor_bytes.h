// What LibTorch's profiler hears of memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace grpo::testing {

// Bytes of tensors that live, and most that lived at once, above those that lived before; while a c10::DebugInfoGuard
// of PROFILER_STATE is there.
struct TensorBytes final : c10::MemoryReportingInfoBase {
  std::int64_t now = 0, peak = 0;
  void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device) override {
    now += bytes;
    peak = std::max(peak, now);
  }
  bool memoryProfilingEnabled() const override { return true; }
};

}  // namespace grpo::testing
