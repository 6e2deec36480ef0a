#include <emmintrin.h>

#include "kernels/linear.h"

namespace grpo::kernels {
namespace {

std::int64_t panel_elements(Type order, std::int64_t in) {
  return kPanel * (order == Type::F32 ? in : ceil_to(in, kPairBlock));
}

// Four floats to bf16 in the low halves of 32-bit words, sign extended: to_bf16 in vectors, which the compiler misses.
__m128i round4(const float* from) {
  const __m128 x = _mm_loadu_ps(from);
  const __m128i u = _mm_castps_si128(x), odd = _mm_and_si128(_mm_srli_epi32(u, 16), _mm_set1_epi32(1));
  const __m128i rounded = _mm_add_epi32(u, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
  const __m128i quiet = _mm_or_si128(u, _mm_set1_epi32(0x400000));
  const __m128i is_nan = _mm_castps_si128(_mm_cmpunord_ps(x, x));
  return _mm_srai_epi32(_mm_or_si128(_mm_and_si128(is_nan, quiet), _mm_andnot_si128(is_nan, rounded)), 16);
}

void round_run(const float* from, bf16* to, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm_packs_epi32(round4(from + i), round4(from + i + 4)));
  for (; i < n; ++i) to[i] = to_bf16(from[i]);
}

}  // namespace

std::int64_t packed_elements(Type order, std::int64_t out, std::int64_t in) {
  return ceil_to(out, kPanel) / kPanel * panel_elements(order, in);
}

std::int64_t packed_index(Type order, std::int64_t in, std::int64_t n, std::int64_t k) {
  const std::int64_t panel = n / kPanel * panel_elements(order, in), lane = n % kPanel;
  return order == Type::F32 ? panel + kPanel * k + lane : panel + pair_offset(k) + 2 * lane;
}

void pack(Type order, const float* row_major, std::int64_t out, std::int64_t in, float* packed, const Team& team) {
  const std::int64_t size = panel_elements(order, in);
  team.split(ceil_to(out, kPanel) / kPanel, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      float* to = packed + p * size;
      for (std::int64_t i = 0; i < size; ++i) to[i] = 0;
      for (std::int64_t lane = 0; lane < kPanel && p * kPanel + lane < out; ++lane) {
        const float* row = row_major + (p * kPanel + lane) * in;
        for (std::int64_t k = 0; k < in; ++k) to[packed_index(order, in, lane, k)] = row[k];
      }
    }
  });
}

void unpack(Type order, const float* packed, std::int64_t out, std::int64_t in, float* row_major, const Team& team) {
  team.split(out, kPanel, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n)
      for (std::int64_t k = 0; k < in; ++k) row_major[n * in + k] = packed[packed_index(order, in, n, k)];
  });
}

void round_to_bf16(const float* from, bf16* to, std::int64_t n, const Team& team) {
  team.split(n, 1 << 16,
             [&](std::int64_t begin, std::int64_t end) { round_run(from + begin, to + begin, end - begin); });
}

}  // namespace grpo::kernels
