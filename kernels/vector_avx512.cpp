// GCC 12 takes the undefined pass-through operands inside its own intrinsics for uninitialised variables (its bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

struct V16 {
  __m512 v;
};

V16 splat(float x) { return {_mm512_set1_ps(x)}; }
V16 load(const float* x) { return {_mm512_loadu_ps(x)}; }
V16 load(const std::uint16_t* x) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
void store(float* y, V16 a) { _mm512_storeu_ps(y, a.v); }
void store(std::uint16_t* y, V16 a) {
  const __m512i u = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i result = _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_cvtepi32_epi16(result));
}
V16 add(V16 a, V16 b) { return {_mm512_add_ps(a.v, b.v)}; }
V16 sub(V16 a, V16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
V16 mul(V16 a, V16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
V16 div(V16 a, V16 b) { return {_mm512_div_ps(a.v, b.v)}; }
V16 madd(V16 a, V16 b, V16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
V16 max16(V16 a, V16 b) { return {_mm512_max_ps(a.v, b.v)}; }
V16 min16(V16 a, V16 b) { return {_mm512_min_ps(a.v, b.v)}; }

// In two steps, so that 2^n may leave the normal range.
V16 times_power(V16 p, V16 shifted) {
  const __m512i n = _mm512_sub_epi32(_mm512_castps_si512(shifted.v), _mm512_set1_epi32(0x4b400000));
  const __m512i half = _mm512_srai_epi32(n, 1), bias = _mm512_set1_epi32(127);
  const __m512i first = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
  const __m512i second = _mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(n, half), bias), 23);
  return {_mm512_mul_ps(_mm512_mul_ps(p.v, _mm512_castsi512_ps(first)), _mm512_castsi512_ps(second))};
}

float lane_sum(V16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

float lane_max(V16 a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

#include "kernels/vector.inc"

}  // namespace

const VectorKernels vector_avx512 = kTable;

}  // namespace grpo::kernels
