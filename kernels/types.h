// Element types of the kernels.
#pragma once

#include <bit>
#include <cstdint>

namespace grpo::kernels {

enum class Type { F32, BF16 };

struct bf16 {
  std::uint16_t bits;
};

// bf16 whose order in a panel is that of floats (kernels/panel.h).
struct PlainHalf {
  std::uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(PlainHalf x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
inline float to_float(bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline bf16 to_bf16(float x) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

inline constexpr std::int64_t ceil_to(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace grpo::kernels
