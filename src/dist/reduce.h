// Reductions in order of rank: the same bits on every rank and in every run.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

// out[i] = parts[0][i] op parts[1][i] op ..., from left to right. `out` may be one of the parts.
template <typename T, typename Combine>
void reduce_with(std::span<const T* const> parts, std::size_t count, T* out, Combine combine) {
  constexpr std::size_t kBlock = 2048;  // stays in the first cache
  std::array<T, kBlock> block;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t length = std::min(kBlock, count - begin);
    std::copy_n(parts[0] + begin, length, block.data());
    for (const T* part : parts.subspan(1))
      for (std::size_t i = 0; i < length; ++i) block[i] = combine(block[i], part[begin + i]);
    std::copy_n(block.data(), length, out + begin);
  }
}

template <typename T>
void reduce(Reduce op, std::span<const T* const> parts, std::size_t count, T* out) {
  switch (op) {
    case Reduce::Sum:
      return reduce_with(parts, count, out, [](T a, T b) { return a + b; });
    case Reduce::Min:  // `b != b`: a NaN
      return reduce_with(parts, count, out, [](T a, T b) { return b < a || b != b ? b : a; });
    case Reduce::Max:
      return reduce_with(parts, count, out, [](T a, T b) { return b > a || b != b ? b : a; });
  }
}

}  // namespace grpo::inline GRPO_ABI
