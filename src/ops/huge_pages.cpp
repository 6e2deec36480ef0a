#include "ops/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

namespace grpo::ops {
namespace {

constexpr std::size_t kPage = std::size_t{2} << 20, kLeastBytes = std::size_t{64} << 20;

// Fresh memory from the system, zero, from a page's start.
class Chunk {
 public:
  explicit Chunk(std::size_t bytes) : mapped_(bytes + kPage) {
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    const auto address = reinterpret_cast<std::uintptr_t>(base_);
    begin_ = reinterpret_cast<char*>((address + kPage - 1) / kPage * kPage);
    end_ = begin_ + bytes;
    madvise(begin_, bytes, MADV_HUGEPAGE);  // a system without them serves small ones
  }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() { munmap(base_, mapped_); }

  // The next `bytes`, or null when they do not fit.
  void* take(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(end_ - begin_)) return nullptr;
    void* taken = begin_;
    begin_ += std::min((bytes + 63) / 64 * 64, static_cast<std::size_t>(end_ - begin_));
    return taken;
  }

 private:
  void* base_ = nullptr;
  std::size_t mapped_ = 0;
  char *begin_ = nullptr, *end_ = nullptr;
};

}  // namespace

at::Tensor zeros_on_huge_pages(std::int64_t elements, at::ScalarType type) {
  // One list for each type, so that what is computed with lies side by side. A chunk lives with its tensors.
  static std::mutex mutex;
  static std::map<at::ScalarType, std::weak_ptr<Chunk>> open;
  const std::size_t bytes = static_cast<std::size_t>(elements) * at::elementSize(type);
  if (bytes == 0) return at::zeros({elements}, type);
  const std::lock_guard lock(mutex);
  std::shared_ptr<Chunk> chunk = open[type].lock();
  void* memory = chunk ? chunk->take(bytes) : nullptr;
  if (memory == nullptr) {
    chunk = std::make_shared<Chunk>(std::max(kLeastBytes, (bytes + 63) / 64 * 64));
    open[type] = chunk;
    memory = chunk->take(bytes);
  }
  return at::from_blob(
      memory, {elements}, [chunk](void*) {}, at::TensorOptions(type));
}

}  // namespace grpo::ops
