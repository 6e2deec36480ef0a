#include "kernels/linear_tiles.h"

#include <emmintrin.h>
#include <xmmintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/linear.h"

namespace grpo::kernels::blocks {
namespace {

inline __m128 load4(const float* x) { return _mm_loadu_ps(x); }
inline __m128 load4(const bf16* x) {
  const __m128i four = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), four));
}

// 16 x 16 of a packed fp32 weight: from [k][16 n] to [n][16 k].
void transpose_block(const float* from, float* to) {
  for (int k = 0; k < kPanel; k += 4) {
    for (int n = 0; n < kPanel; n += 4) {
      __m128 a = _mm_loadu_ps(from + k * kPanel + n), b = _mm_loadu_ps(from + (k + 1) * kPanel + n);
      __m128 c = _mm_loadu_ps(from + (k + 2) * kPanel + n), d = _mm_loadu_ps(from + (k + 3) * kPanel + n);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(to + n * kPanel + k, a);
      _mm_storeu_ps(to + (n + 1) * kPanel + k, b);
      _mm_storeu_ps(to + (n + 2) * kPanel + k, c);
      _mm_storeu_ps(to + (n + 3) * kPanel + k, d);
    }
  }
}

// The same from [k/2][16 n][2] in bf16: pairs travel as one 32-bit word, then widen.
void transpose_block(const bf16* from, float* to) {
  const auto* words = reinterpret_cast<const float*>(from);
  for (int k = 0; k < kPanel; k += 8) {
    for (int n = 0; n < kPanel; n += 4) {
      const float* at = words + k / 2 * kPanel + n;
      __m128 rows[4] = {_mm_loadu_ps(at), _mm_loadu_ps(at + kPanel), _mm_loadu_ps(at + 2 * kPanel),
                        _mm_loadu_ps(at + 3 * kPanel)};
      _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < 4; ++i) {
        const __m128i eight = _mm_castps_si128(rows[i]), zero = _mm_setzero_si128();
        _mm_storeu_ps(to + (n + i) * kPanel + k, _mm_castsi128_ps(_mm_unpacklo_epi16(zero, eight)));
        _mm_storeu_ps(to + (n + i) * kPanel + k + 4, _mm_castsi128_ps(_mm_unpackhi_epi16(zero, eight)));
      }
    }
  }
}

constexpr std::int64_t padded_in(float, std::int64_t in) { return in; }
constexpr std::int64_t padded_in(bf16, std::int64_t in) { return ceil_to(in, 32); }

}  // namespace

template <class T>
void tile_of_rows(Matrix<T> x, std::int64_t rows, std::int64_t inner, std::int64_t padded_inner, std::int64_t pad,
                  float* to) {
  for (std::int64_t r = 0; r < rows; r += 4) {
    const T* at[4];
    for (std::int64_t i = 0; i < 4; ++i) at[i] = x.at + std::min(r + i, rows - 1) * x.stride;
    float* out = to + r;
    std::int64_t k = 0;
    for (; k + 4 <= inner; k += 4, out += 4 * pad) {
      __m128 a = load4(at[0] + k), b = load4(at[1] + k), c = load4(at[2] + k), d = load4(at[3] + k);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(out, a);
      _mm_storeu_ps(out + pad, b);
      _mm_storeu_ps(out + 2 * pad, c);
      _mm_storeu_ps(out + 3 * pad, d);
    }
    for (; k < inner; ++k, out += pad)
      for (int i = 0; i < 4; ++i) out[i] = to_float(at[i][k]);
    for (; k < padded_inner; ++k, out += pad)
      for (int i = 0; i < 4; ++i) out[i] = 0;
  }
}

template <class T>
void tile_of_columns(Matrix<T> x, std::int64_t columns, std::int64_t available, std::int64_t inner, std::int64_t pad,
                     float* to) {
  const std::int64_t wide = available >= ceil_to(columns, 4) ? ceil_to(columns, 4) : columns / 4 * 4;
  for (std::int64_t k = 0; k < inner; ++k, to += pad) {
    const T* at = x.at + k * x.stride;
    std::int64_t c = 0;
    for (; c < wide; c += 4) _mm_storeu_ps(to + c, load4(at + c));
    for (; c < columns; ++c) to[c] = to_float(at[c]);
  }
}

template <class T>
void panel_of_columns(Matrix<T> x, std::int64_t columns, std::int64_t inner, float* to) {
  for (std::int64_t k = 0; k < inner; ++k, to += kPanel) {
    const T* at = x.at + k * x.stride;
    if (columns >= kPanel) {
      for (int j = 0; j < kPanel; j += 4) _mm_storeu_ps(to + j, load4(at + j));
    } else {
      for (std::int64_t j = 0; j < kPanel; ++j) to[j] = j < columns ? to_float(at[j]) : 0.0f;
    }
  }
}

template <class T>
void panel_of_weight(const T* weight, std::int64_t in, std::int64_t first, std::int64_t count, std::int64_t panel,
                     float* to) {
  const std::int64_t rows_per_panel = padded_in(T{}, in), k0 = panel * kPanel;
  const Type order = sizeof(T) == sizeof(float) ? Type::F32 : Type::BF16;
  for (std::int64_t n = 0; n < count; n += kPanel) {
    const T* from = weight + (first + n) * rows_per_panel + k0 * kPanel;
    if (n + kPanel <= count && k0 + kPanel <= rows_per_panel) {
      transpose_block(from, to + n * kPanel);
      continue;
    }
    const std::int64_t block = (first + n) * rows_per_panel;
    for (std::int64_t i = 0; i < std::min(kPanel, count - n); ++i)
      for (std::int64_t j = 0; j < kPanel; ++j)
        to[(n + i) * kPanel + j] = k0 + j < in ? to_float(weight[block + packed_index(order, in, i, k0 + j)]) : 0.0f;
  }
}

template void tile_of_rows(Matrix<float>, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);
template void tile_of_rows(Matrix<bf16>, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);
template void tile_of_columns(Matrix<float>, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);
template void tile_of_columns(Matrix<bf16>, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);
template void panel_of_columns(Matrix<float>, std::int64_t, std::int64_t, float*);
template void panel_of_columns(Matrix<bf16>, std::int64_t, std::int64_t, float*);
template void panel_of_weight(const float*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);
template void panel_of_weight(const bf16*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);

}  // namespace grpo::kernels::blocks
