#include "kernels/linear_tiles.h"

#include <emmintrin.h>
#include <xmmintrin.h>

#include <algorithm>
#include <bit>
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

// The four k of two words of one output, in order.
__m128i in_order(__m128i words) {
  return _mm_shufflehi_epi16(_mm_shufflelo_epi16(words, _MM_SHUFFLE(2, 0, 3, 1)), _MM_SHUFFLE(2, 0, 3, 1));
}

// The same in bf16: pairs travel as one 32-bit word, then widen.
void transpose_block(const bf16* from, float* to) {
  const auto* words = reinterpret_cast<const float*>(from);
  for (int k = 0; k < kPanel; k += 8) {
    for (int n = 0; n < kPanel; n += 4) {
      const float* at = words + k / 2 * kPanel + n;
      __m128 rows[4] = {_mm_loadu_ps(at), _mm_loadu_ps(at + kPanel), _mm_loadu_ps(at + 2 * kPanel),
                        _mm_loadu_ps(at + 3 * kPanel)};
      _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < 4; ++i) {
        const __m128i eight = in_order(_mm_castps_si128(rows[i])), zero = _mm_setzero_si128();
        _mm_storeu_ps(to + (n + i) * kPanel + k, _mm_castsi128_ps(_mm_unpacklo_epi16(zero, eight)));
        _mm_storeu_ps(to + (n + i) * kPanel + k + 4, _mm_castsi128_ps(_mm_unpackhi_epi16(zero, eight)));
      }
    }
  }
}

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
  const std::int64_t rows_per_panel = padded<T>(in), k0 = panel * kPanel;
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

namespace {

// A unit of two bf16.
float pair(bf16 low, bf16 high) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(low.bits) | static_cast<std::uint32_t>(high.bits) << 16);
}

__m128i load8(const bf16* x) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x)); }
void store8(void* to, __m128i x) { _mm_storeu_si128(static_cast<__m128i*>(to), x); }

}  // namespace

void words_of_rows(Matrix<bf16> x, std::int64_t rows, std::int64_t inner, std::int64_t padded_inner, std::int64_t pad,
                   std::int64_t block, float* to) {
  for (std::int64_t r = 0; r < rows; r += 4) {
    const bf16* at[4];
    for (std::int64_t i = 0; i < 4; ++i) at[i] = x.at + std::min(r + i, rows - 1) * x.stride;
    for (std::int64_t k = 0; k < padded_inner; k += 8) {
      float* out = to + k / kPairBlock * block + k % kPairBlock / 2 * pad + r;
      __m128 words[4];
      for (int i = 0; i < 4; ++i) {  // k + 2, k, k + 3, k + 1 of each four
        __m128i eight = _mm_setzero_si128();
        if (k + 8 <= inner) {
          eight = load8(at[i] + k);
        } else if (k < inner) {
          std::memcpy(&eight, at[i] + k, static_cast<std::size_t>(inner - k) * sizeof(bf16));
        }
        const __m128i low = _mm_shufflelo_epi16(eight, _MM_SHUFFLE(1, 3, 0, 2));
        words[i] = _mm_castsi128_ps(_mm_shufflehi_epi16(low, _MM_SHUFFLE(1, 3, 0, 2)));
      }
      _MM_TRANSPOSE4_PS(words[0], words[1], words[2], words[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(out + i * pad, words[i]);
    }
  }
}

void words_of_columns(Matrix<bf16> x, std::int64_t columns, std::int64_t available, std::int64_t inner,
                      std::int64_t padded_inner, std::int64_t pad, std::int64_t block, float* to) {
  for (std::int64_t k = 0; k < padded_inner; k += 4) {
    for (std::int64_t odd = 0; odd < 2; ++odd) {
      const std::int64_t first = k + odd, second = k + 2 + odd;
      const bf16* low = second < inner ? x.at + second * x.stride : nullptr;
      const bf16* high = first < inner ? x.at + first * x.stride : nullptr;
      float* out = to + k / kPairBlock * block + (k % kPairBlock / 2 + odd) * pad;
      if (available >= 8) {
        const __m128i l = low != nullptr ? load8(low) : _mm_setzero_si128();
        const __m128i h = high != nullptr ? load8(high) : _mm_setzero_si128();
        store8(out, _mm_unpacklo_epi16(l, h));
        if (pad == 8) store8(out + 4, _mm_unpackhi_epi16(l, h));
        continue;
      }
      for (std::int64_t c = 0; c < columns; ++c)
        out[c] = pair(low != nullptr ? low[c] : bf16{0}, high != nullptr ? high[c] : bf16{0});
    }
  }
}

void rows_of_rows(Matrix<bf16> x, std::int64_t rows, std::int64_t inner, std::int64_t padded_inner, float* to) {
  for (std::int64_t r = 0; r < rows; ++r, to += padded_inner / 2) {
    auto* row = reinterpret_cast<bf16*>(to);
    std::memcpy(row, x.at + r * x.stride, static_cast<std::size_t>(inner) * sizeof(bf16));
    std::memset(row + inner, 0, static_cast<std::size_t>(padded_inner - inner) * sizeof(bf16));
  }
}

void rows_of_columns(Matrix<bf16> x, std::int64_t columns, std::int64_t inner, std::int64_t padded_inner, float* to) {
  const std::int64_t stride = padded_inner / 2;
  std::int64_t k = 0;
  for (; k + 8 <= inner; k += 8) {
    const bf16* at = x.at + k * x.stride;
    std::int64_t c = 0;
    for (; c + 8 <= columns; c += 8) {
      __m128 low[4], high[4];  // pairs of rows k and k + 1, four columns each
      for (int i = 0; i < 4; ++i) {
        const __m128i a = load8(at + 2 * i * x.stride + c), b = load8(at + (2 * i + 1) * x.stride + c);
        low[i] = _mm_castsi128_ps(_mm_unpacklo_epi16(a, b));
        high[i] = _mm_castsi128_ps(_mm_unpackhi_epi16(a, b));
      }
      _MM_TRANSPOSE4_PS(low[0], low[1], low[2], low[3]);
      _MM_TRANSPOSE4_PS(high[0], high[1], high[2], high[3]);
      for (int i = 0; i < 4; ++i) {
        _mm_storeu_ps(to + (c + i) * stride + k / 2, low[i]);
        _mm_storeu_ps(to + (c + 4 + i) * stride + k / 2, high[i]);
      }
    }
    for (; c < columns; ++c)
      for (std::int64_t i = 0; i < 4; ++i)
        to[c * stride + k / 2 + i] = pair(at[2 * i * x.stride + c], at[(2 * i + 1) * x.stride + c]);
  }
  for (; k < padded_inner; k += 2) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const auto element = [&](std::int64_t row) { return row < inner ? x.at[row * x.stride + c] : bf16{0}; };
      to[c * stride + k / 2] = pair(element(k), element(k + 1));
    }
  }
}

void pair_panel_of_columns(Matrix<bf16> x, std::int64_t columns, std::int64_t inner, std::int64_t padded_inner,
                           bf16* to) {
  for (std::int64_t k = 0; k < padded_inner; k += 4, to += 4 * kPanel) {
    const bf16* at = x.at + k * x.stride;
    if (columns >= kPanel && k + 3 < inner) {
      for (std::int64_t odd = 0; odd < 2; ++odd) {
        for (int j = 0; j < kPanel; j += 8) {
          const __m128i high = load8(at + odd * x.stride + j), low = load8(at + (odd + 2) * x.stride + j);
          store8(to + 2 * kPanel * odd + 2 * j, _mm_unpacklo_epi16(low, high));
          store8(to + 2 * kPanel * odd + 2 * j + 8, _mm_unpackhi_epi16(low, high));
        }
      }
      continue;
    }
    for (std::int64_t i = 0; i < 4; ++i)
      for (std::int64_t j = 0; j < kPanel; ++j)
        to[pair_offset(i) + 2 * j] = j < columns && k + i < inner ? at[i * x.stride + j] : bf16{0};
  }
}

void pair_panel_of_weight(const bf16* weight, std::int64_t in, std::int64_t first, std::int64_t count,
                          std::int64_t padded_inner, std::int64_t panel, bf16* to) {
  const std::int64_t rows_per_panel = padded<bf16>(in), k0 = panel * kPanel;
  for (std::int64_t n = 0; n < padded_inner; n += kPanel, to += kPanel * kPanel) {
    const std::int64_t rows = std::clamp<std::int64_t>(count - n, 0, kPanel);
    const bf16* from = weight + (first + n) * rows_per_panel + k0 * kPanel;  // 16 k of 16 n
    if (rows == kPanel) {
      for (int k = 0; k < kPanel; k += 4) {
        for (int i = 0; i < kPanel; i += 4) {
          // Of k + odd and k + odd + 2, words of outputs (i + 2, i) twice, then (i + 3, i + 1) twice.
          __m128i words[2];
          for (int odd = 0; odd < 2; ++odd) {
            const __m128i four = load8(from + kPanel * k + 2 * kPanel * odd + 2 * i);
            words[odd] = in_order(_mm_shuffle_epi32(four, _MM_SHUFFLE(1, 3, 0, 2)));
          }
          store8(to + kPanel * i + 2 * k, _mm_unpacklo_epi32(words[0], words[1]));
          store8(to + kPanel * i + 2 * kPanel + 2 * k, _mm_unpackhi_epi32(words[0], words[1]));
        }
      }
      continue;
    }
    for (std::int64_t i = 0; i < kPanel; ++i)
      for (std::int64_t j = 0; j < kPanel; ++j)
        to[pair_offset(i) + 2 * j] = i < rows ? from[pair_offset(j) + 2 * i] : bf16{0};
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
