// The reference: plain loops that spell out the order of summation.
#include <xmmintrin.h>

#include <cmath>

#include "kernels/panel_tables.h"

namespace grpo::kernels {
namespace {

std::int64_t panel_columns(std::int64_t columns, std::int64_t panel) {
  return columns - panel * kPanel < kPanel ? columns - panel * kPanel : kPanel;
}

template <class B>
void product_chain(const PanelProduct<B>& g) {
  for (std::int64_t p = 0; p * kPanel < g.columns; ++p) {
    const B* b = g.b + p * g.b_panel;
    for (std::int64_t r = 0; r < g.rows; ++r) {
      float* c = g.c + r * g.c_row + p * g.c_panel;
      for (std::int64_t j = 0; j < panel_columns(g.columns, p); ++j) {
        float sum = g.accumulate ? c[j] : 0.0f;
        for (std::int64_t k = 0; k < g.inner; ++k)
          sum = std::fma(g.a[r * g.a_row + k * g.a_k], to_float(b[kPanel * k + j]), sum);
        c[j] = sum;
      }
    }
  }
}

void product_pairs(const PanelProduct<bf16>& g) {
  const unsigned int mode = _mm_getcsr();
  _mm_setcsr(mode | kFlushSubnormals);
  for (std::int64_t p = 0; p * kPanel < g.columns; ++p) {
    const bf16* b = g.b + p * g.b_panel;
    for (std::int64_t r = 0; r < g.rows; ++r) {
      float* c = g.c + r * g.c_row + p * g.c_panel;
      for (std::int64_t j = 0; j < panel_columns(g.columns, p); ++j) {
        float sum = g.accumulate ? c[j] : 0.0f;
        for (std::int64_t block = 0; block < g.inner; block += kPairBlock) {
          float even = 0, odd = 0;
          for (std::int64_t k = block; k < block + kPairBlock; ++k) {
            float& chain = k % 2 == 0 ? even : odd;
            chain = std::fma(g.a[r * g.a_row + k * g.a_k], to_float(b[pair_offset(k) + 2 * j]), chain);
          }
          sum += even + odd;
        }
        c[j] = sum;
      }
    }
  }
  _mm_setcsr(mode);
}

int one_panel(std::int64_t) { return 1; }

}  // namespace

extern const PanelKernels panel_scalar;
const PanelKernels panel_scalar = {{product_chain<float>, 4, 4, one_panel},
                                   {product_chain<PlainHalf>, 4, 4, one_panel},
                                   {product_pairs, 4, 4, one_panel}};

}  // namespace grpo::kernels
