// The reference: every lane by itself.
#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

struct V16 {
  float v[16];
};

template <class F>
V16 each(F f) {
  V16 result;
  for (int i = 0; i < 16; ++i) result.v[i] = f(i);
  return result;
}

std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

V16 splat(float x) {
  return each([=](int) { return x; });
}
V16 load(const float* x) {
  return each([=](int i) { return x[i]; });
}
V16 load(const std::uint16_t* x) {
  return each([=](int i) { return float_of(static_cast<std::uint32_t>(x[i]) << 16); });
}
void store(float* y, const V16& a) {
  for (int i = 0; i < 16; ++i) y[i] = a.v[i];
}
void store(std::uint16_t* y, const V16& a) {
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t u = bits_of(a.v[i]);
    const std::uint32_t rounded = a.v[i] != a.v[i] ? u | 0x400000u : u + 0x7fffu + ((u >> 16) & 1u);
    y[i] = static_cast<std::uint16_t>(rounded >> 16);
  }
}
V16 add(const V16& a, const V16& b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
V16 sub(const V16& a, const V16& b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
V16 mul(const V16& a, const V16& b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
V16 div(const V16& a, const V16& b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
V16 madd(const V16& a, const V16& b, const V16& c) {
  return each([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
float max1(float a, float b) { return a > b ? a : b; }
float min1(float a, float b) { return a < b ? a : b; }
V16 max16(const V16& a, const V16& b) {
  return each([&](int i) { return max1(a.v[i], b.v[i]); });
}
V16 min16(const V16& a, const V16& b) {
  return each([&](int i) { return min1(a.v[i], b.v[i]); });
}

// In two steps, so that 2^n may leave the normal range.
V16 times_power(const V16& p, const V16& shifted) {
  return each([&](int i) {
    const std::int32_t n = static_cast<std::int32_t>(bits_of(shifted.v[i]) - 0x4b400000u);
    const std::int32_t half = n >> 1;
    const std::uint32_t first = static_cast<std::uint32_t>(half + 127) << 23;
    const std::uint32_t second = static_cast<std::uint32_t>(n - half + 127) << 23;
    return p.v[i] * float_of(first) * float_of(second);
  });
}

float lane_sum(V16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}

float lane_max(V16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = max1(a.v[i], a.v[i + half]);
  }
  return a.v[0];
}

#include "kernels/vector.inc"

}  // namespace

const VectorKernels vector_scalar = kTable;

}  // namespace grpo::kernels
