#include <immintrin.h>

#include "kernels/panel_tables.h"

namespace grpo::kernels {
namespace {

using Vec = __m256;
using Raw = __m256i;
constexpr int kVecs = 2, kVecFloats = 8;
constexpr int kMaxRows = 6, kMaxPairRows = 3;  // x 2 vectors = 12 of the 16 registers

inline Vec load(const float* x) { return _mm256_loadu_ps(x); }
inline Vec load(const PlainHalf* x) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
inline void store(float* x, Vec v) { _mm256_storeu_ps(x, v); }
inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec broadcast(const float* x) { return _mm256_broadcast_ss(x); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Raw load_raw(const bf16* x) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)); }
inline Vec low_of(Raw pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
inline Vec high_of(Raw pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

constexpr int max_panels(float, int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
constexpr int max_panels(PlainHalf, int rows) { return max_panels(0.0f, rows); }
constexpr int max_panels(bf16, int rows) { return rows == 1 ? 2 : 1; }

#include "kernels/panel.inc"

int f32_panels(std::int64_t rows) { return max_panels(0.0f, static_cast<int>(rows)); }
int pairs_panels(std::int64_t rows) { return max_panels(bf16{}, static_cast<int>(rows)); }

}  // namespace

extern const PanelKernels panel_avx2;
const PanelKernels panel_avx2 = {{product<kMaxRows, float>, kMaxRows, kMaxRows, f32_panels},
                                 {product<kMaxRows, PlainHalf>, kMaxRows, kMaxRows, f32_panels},
                                 {product<kMaxPairRows, bf16>, kMaxPairRows, 2 * kMaxPairRows, pairs_panels}};

}  // namespace grpo::kernels
