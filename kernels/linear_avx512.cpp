#include <immintrin.h>

#include "kernels/panel_tables.h"

namespace grpo::kernels {
namespace {

using Vec = __m512;
using Raw = __m512i;
constexpr int kVecs = 1, kVecFloats = 16;
constexpr int kMaxRows = 14, kMaxPairRows = 6;  // x 2 panels (x 2 chains) = 28 or 24 of the 32 registers

inline Vec load(const float* x) { return _mm512_loadu_ps(x); }
// The masked forms, since g++ 12 warns about the plain ones' undefined operand.
inline Vec load(const PlainHalf* x) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, bits), 16));
}
inline void store(float* x, Vec v) { _mm512_storeu_ps(x, v); }
inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec broadcast(const float* x) { return _mm512_set1_ps(*x); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Raw load_raw(const bf16* x) { return _mm512_loadu_si512(x); }
inline Vec low_of(Raw pairs) { return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, pairs, 16)); }
inline Vec high_of(Raw pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

constexpr int max_panels(float, int rows) { return rows <= 6 ? 4 : rows <= 9 ? 3 : 2; }
constexpr int max_panels(PlainHalf, int rows) { return max_panels(0.0f, rows); }
constexpr int max_panels(bf16, int rows) { return rows <= 3 ? 4 : rows == 4 ? 3 : 2; }

#include "kernels/panel.inc"

int f32_panels(std::int64_t rows) { return max_panels(0.0f, static_cast<int>(rows)); }
int pairs_panels(std::int64_t rows) { return max_panels(bf16{}, static_cast<int>(rows)); }

}  // namespace

extern const PanelKernels panel_avx512;
const PanelKernels panel_avx512 = {{product<kMaxRows, float>, kMaxRows, kMaxRows, f32_panels},
                                   {product<kMaxRows, PlainHalf>, kMaxRows, kMaxRows, f32_panels},
                                   {product<kMaxPairRows, bf16>, kMaxPairRows, 2 * kMaxPairRows, pairs_panels}};

}  // namespace grpo::kernels
