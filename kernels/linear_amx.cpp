// bf16 products with AMX. Assembly rather than intrinsics: those want literal tile numbers, and g++ 12 may drop the
// stores that fill the configuration before _tile_loadconfig.
#include "kernels/panel_tables.h"

namespace grpo::kernels {
namespace {

void configure(int rows0, int rows1) {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  } config;
  for (int tile = 0; tile < 8; ++tile) {
    const bool second = tile == 2 || tile == 3 || tile == 5;
    const int rows = tile >= 6 ? 16 : second ? rows1 : rows0;
    if (rows == 0) continue;
    config.rows[tile] = static_cast<std::uint8_t>(rows);
    config.row_bytes[tile] = 64;
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}
void release() { asm volatile("tilerelease" ::: "memory"); }

template <int T>
void zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
void load(const void* p, std::int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(T) : "memory");
}
template <int T>
void save(void* p, std::int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(T) : "memory");
}
template <int C, int A, int B>
void multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

#include "kernels/linear_amx.inc"

int two_panels(std::int64_t) { return 2; }

}  // namespace

extern const PanelKernel<bf16> pairs_amx;
const PanelKernel<bf16> pairs_amx = {product, kMostRows, 2 * kTileRows, two_panels, PairForm::Rows};

}  // namespace grpo::kernels
