#include "ops/pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "support/process.h"
#include "support/tensor_bytes.h"
#include "support/tensors.h"

namespace grpo::testing {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

const void* place(const at::Tensor& tensor) { return tensor.const_data_ptr(); }

class Pool : public OpsTest {};

TEST_F(Pool, GivesWhatWasGivenBack) {
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < 4; ++i) tensors.push_back(ops::pooled({3, kMiB / 4}, at::kFloat));
  const at::Tensor& first = tensors[0];
  EXPECT_EQ(first.sizes(), at::IntArrayRef({3, kMiB / 4}));
  EXPECT_EQ(first.scalar_type(), at::kFloat);
  EXPECT_TRUE(first.is_contiguous());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(place(first)) % 64, 0U);
  const void *second = place(tensors[1]), *third = place(tensors[2]);
  tensors[1] = at::Tensor();
  tensors[1] = ops::pooled({3 * kMiB}, at::kByte);  // of the same size: into the hole
  EXPECT_EQ(place(tensors[1]), second);
  tensors[2] = at::Tensor();
  tensors[1] = at::Tensor();
  EXPECT_EQ(place(ops::pooled({6 * kMiB}, at::kByte)), second) << "neighbours become one";
  tensors[1] = ops::pooled({kMiB * 3 / 2}, at::kBFloat16);
  EXPECT_EQ(place(ops::pooled({3 * kMiB}, at::kByte)), third) << "what is left of a larger one";
}

TEST_F(Pool, TensorsDoNotOverlap) {
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < 200; ++i) {
    tensors.push_back(ops::pooled({(i * 37 % 50 + 1) * 5000}, at::kInt).fill_(i));
    if (i % 3 == 2) tensors[static_cast<std::size_t>(i / 2)] = at::Tensor();
  }
  for (int i = 0; i < 200; ++i) {
    const at::Tensor& tensor = tensors[static_cast<std::size_t>(i)];
    EXPECT_TRUE(!tensor.defined() || tensor.eq(i).all().item<bool>()) << i;
  }
  EXPECT_EQ(ops::pooled({0, 4}, at::kFloat).numel(), 0);
}

TEST_F(Pool, IsSeenByTheProfiler) {
  const auto bytes = std::make_shared<TensorBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
  at::Tensor tensor = ops::pooled({kMiB}, at::kFloat);
  EXPECT_EQ(bytes->now, 4 * kMiB);
  tensor = at::Tensor();
  EXPECT_EQ(bytes->now, 0);
}

TEST_F(Pool, KnowsWhatIsFree) {
  ops::trim_pool();
  const at::Tensor low = ops::pooled({kMiB}, at::kByte);
  at::Tensor tensor = ops::pooled({80 * kMiB}, at::kByte).fill_(1);
  const std::int64_t before = ops::free_pool_bytes();
  tensor = at::Tensor();
  EXPECT_EQ(ops::free_pool_bytes(), before + 80 * kMiB);
  ops::trim_pool();
  EXPECT_EQ(ops::free_pool_bytes(), before);
}

TEST_F(Pool, TrimmingReturnsFreePages) {
  const at::Tensor kept = ops::pooled({kMiB}, at::kByte).fill_(7);
  ops::pooled({64 * kMiB}, at::kByte).fill_(1);
  const std::int64_t before = status_bytes("VmRSS");
  ops::trim_pool();
  EXPECT_LT(status_bytes("VmRSS"), before - 60 * kMiB);
  EXPECT_TRUE(kept.eq(7).all().item<bool>());
}

}  // namespace
}  // namespace grpo::testing
