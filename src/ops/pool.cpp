#include "ops/pool.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
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
constexpr std::size_t kGrowth = std::size_t{64} << 20;     // bytes made writable at a time, at least

bool address_space_is_limited() {
  rlimit limit{};
  return getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

// One range of addresses as long as the machine's memory, on huge pages that come as they are touched. The smallest
// free piece that fits is taken, of these the lowest. Of the range only what has been in use counts as memory of the
// process, whatever the system's rules are; where addresses themselves are limited there is none.
class Pool {
 public:
  Pool() {
    if (address_space_is_limited()) return;  // it stays empty
    const auto bytes =
        static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* base = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return;
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    const std::size_t skipped = (kHugePage - address % kHugePage) % kHugePage;
    madvise(base, bytes, MADV_HUGEPAGE);
    if (skipped >= bytes) return;
    used_end_ = writable_end_ = static_cast<char*>(base) + skipped;
    range_end_ = static_cast<char*>(base) + bytes;
    insert(used_end_, bytes - skipped);
  }

  // Null when nothing fits.
  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto found = by_size_.lower_bound({bytes, nullptr});
    if (found == by_size_.end()) return nullptr;
    const auto [size, begin] = *found;
    if (!make_writable(begin + bytes)) return nullptr;
    used_end_ = std::max(used_end_, begin + bytes);
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

  // Free pieces that have been in use, and so hold pages.
  std::size_t free_bytes() {
    const std::lock_guard lock(mutex_);
    std::size_t sum = 0;
    for (const auto& [begin, bytes] : by_place_)
      if (begin < used_end_) sum += static_cast<std::size_t>(std::min(begin + bytes, used_end_) - begin);
    return sum;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (const auto& [begin, bytes] : by_place_) {
      const auto address = reinterpret_cast<std::uintptr_t>(begin);
      const std::size_t skipped = (kSmallPage - address % kSmallPage) % kSmallPage;
      if (skipped < bytes) madvise(begin + skipped, (bytes - skipped) / kSmallPage * kSmallPage, MADV_DONTNEED);
    }
    const auto last = by_place_.rbegin();
    if (last != by_place_.rend() && last->first + last->second == range_end_)
      used_end_ = std::min(used_end_, last->first);
  }

 private:
  bool make_writable(char* end) {
    if (end <= writable_end_) return true;
    const auto missing = static_cast<std::size_t>(end - writable_end_);
    const std::size_t growth =
        std::min((missing + kGrowth - 1) / kGrowth * kGrowth, static_cast<std::size_t>(range_end_ - writable_end_));
    if (mprotect(writable_end_, growth, PROT_READ | PROT_WRITE) != 0) return false;
    writable_end_ += growth;
    return true;
  }

  void insert(char* begin, std::size_t bytes) {
    by_place_.emplace(begin, bytes);
    by_size_.emplace(bytes, begin);
  }
  void erase(char* begin, std::size_t bytes) {
    by_place_.erase(begin);
    by_size_.erase({bytes, begin});
  }

  std::mutex mutex_;
  char *used_end_ = nullptr, *writable_end_ = nullptr, *range_end_ = nullptr;
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
std::int64_t free_pool_bytes() { return static_cast<std::int64_t>(pool().free_bytes()); }

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
