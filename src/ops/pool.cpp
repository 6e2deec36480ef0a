#include "ops/pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <set>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/util/accumulate.h>

namespace grpo::ops {
namespace {

constexpr std::size_t kAlignment = 64, kSmallPage = 4096, kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLeastBytes = std::size_t{1} << 16;  // less is left to the C library

// One range of addresses as long as the machine's memory, on huge pages that come as they are touched. The smallest
// free piece that fits is taken, of these the lowest.
class Pool {
 public:
  Pool() {
    const auto bytes =
        static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return;  // it stays empty
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    const std::size_t skipped = (kHugePage - address % kHugePage) % kHugePage;
    madvise(base, bytes, MADV_HUGEPAGE);
    if (skipped < bytes) insert(static_cast<char*>(base) + skipped, bytes - skipped);
  }

  // Null when nothing fits.
  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto found = by_size_.lower_bound({bytes, nullptr});
    if (found == by_size_.end()) return nullptr;
    const auto [size, begin] = *found;
    erase(begin, size);
    if (size > bytes) insert(begin + bytes, size - bytes);
    return begin;
  }

  void give_back(void* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    char* begin = static_cast<char*>(memory);
    auto next = by_place_.lower_bound(begin);
    if (next != by_place_.end() && next->first == begin + bytes) {
      const std::size_t size = next->second;
      erase(begin + bytes, size);
      bytes += size;
      next = by_place_.lower_bound(begin);
    }
    if (next != by_place_.begin()) {
      const auto [before, size] = *std::prev(next);
      if (before + size == begin) {
        erase(before, size);
        begin = before;
        bytes += size;
      }
    }
    insert(begin, bytes);
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (const auto& [begin, bytes] : by_place_) {
      const auto address = reinterpret_cast<std::uintptr_t>(begin);
      const std::size_t skipped = (kSmallPage - address % kSmallPage) % kSmallPage;
      if (skipped < bytes) madvise(begin + skipped, (bytes - skipped) / kSmallPage * kSmallPage, MADV_DONTNEED);
    }
  }

 private:
  void insert(char* begin, std::size_t bytes) {
    by_place_.emplace(begin, bytes);
    by_size_.emplace(bytes, begin);
  }
  void erase(char* begin, std::size_t bytes) {
    by_place_.erase(begin);
    by_size_.erase({bytes, begin});
  }

  std::mutex mutex_;
  std::map<char*, std::size_t> by_place_;  // free pieces; no two touch
  std::set<std::pair<std::size_t, char*>> by_size_;
};

// To LibTorch's profiler, as its own allocator does.
void report(void* memory, std::int64_t bytes) {
  c10::reportMemoryUsageToProfiler(memory, bytes, 0, 0, c10::Device(c10::DeviceType::CPU));
}

Pool& pool() {
  static Pool* const pool = new Pool;  // outlives every tensor
  return *pool;
}

}  // namespace

void trim_pool() { pool().trim(); }

at::Tensor pooled(at::IntArrayRef sizes, at::ScalarType type) {
  const auto elements = static_cast<std::size_t>(c10::multiply_integers(sizes));
  const std::size_t bytes = (elements * at::elementSize(type) + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = bytes < kLeastBytes ? nullptr : pool().take(bytes);
  if (memory == nullptr) return at::empty(sizes, type);
  report(memory, static_cast<std::int64_t>(bytes));
  const auto give_back = [bytes](void* given) {
    report(given, -static_cast<std::int64_t>(bytes));
    pool().give_back(given, bytes);
  };
  return at::from_blob(memory, sizes, give_back, at::TensorOptions(type));
}

}  // namespace grpo::ops
