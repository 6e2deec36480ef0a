#include "kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "kernels/linear.h"
#include "kernels/panel.h"
#include "kernels/panel_tables.h"

namespace grpo::kernels {
namespace {

// CPUID leaf 7: what compilers' built-ins do not all know.
bool has_avx512_bf16() {
  unsigned int a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1) != 0;
}

// amx-bf16 and amx-tile, and leave from the system to use the tile registers (the same answer for the whole process).
bool has_amx_bf16() {
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;
  unsigned int a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 22 & 1) == 0 || (d >> 24 & 1) == 0) return false;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

}  // namespace

std::string isa_lacks(Isa isa) {
  std::string lacking;
  const auto need = [&lacking](const char* feature, bool is_there) {
    if (!is_there) lacking += (lacking.empty() ? "" : " ") + std::string(feature);
  };
  // The built-ins ask CPUID and, for the wide registers, whether the system saves them.
  if (isa != Isa::Scalar) {
    // Every CPU with AVX2 has F16C, which clang 14's built-in does not know.
    need("avx2", __builtin_cpu_supports("avx2"));
    need("fma", __builtin_cpu_supports("fma"));
  }
  if (isa >= Isa::Avx512) {
    need("avx512f", __builtin_cpu_supports("avx512f"));
    need("avx512bw", __builtin_cpu_supports("avx512bw"));
    need("avx512vl", __builtin_cpu_supports("avx512vl"));
    need("avx512dq", __builtin_cpu_supports("avx512dq"));
  }
  if (isa == Isa::Avx512Bf16) need("avx512_bf16", has_avx512_bf16());
  if (isa == Isa::Amx) need("amx_bf16", has_amx_bf16());
  return lacking;
}

bool isa_runs(Isa isa) { return isa_lacks(isa).empty(); }

Isa best_isa() {
  static const Isa best = *std::find_if(std::rbegin(kIsas), std::rend(kIsas), isa_runs);
  return best;
}

const char* name(Isa isa) {
  switch (isa) {
    case Isa::Scalar:
      return "scalar";
    case Isa::Avx2:
      return "avx2";
    case Isa::Avx512:
      return "avx512";
    case Isa::Avx512Bf16:
      return "avx512bf16";
    case Isa::Amx:
      return "amx";
  }
  return "unknown";
}

PanelKernels panel_kernels(Isa isa) {
  switch (isa) {
    case Isa::Amx:
      return {panel_avx512.f32, panel_avx512.halves, pairs_amx};
    case Isa::Avx512Bf16:
      return {panel_avx512.f32, panel_avx512.halves, pairs_avx512bf16};
    case Isa::Avx512:
      return panel_avx512;
    case Isa::Avx2:
      return panel_avx2;
    case Isa::Scalar:
      break;
  }
  return panel_scalar;
}

}  // namespace grpo::kernels
