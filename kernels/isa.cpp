#include "kernels/linear.h"
#include "kernels/panel.h"
#include "kernels/panel_tables.h"

namespace grpo::kernels {

bool isa_runs(Isa isa) {
  // The built-ins ask CPUID and, for the wide registers, whether the system saves them.
  switch (isa) {
    case Isa::Scalar:
      return true;
    case Isa::Avx2:
      // Every CPU with AVX2 has F16C, which clang 14's built-in does not know.
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::Avx512:
      return isa_runs(Isa::Avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  return false;
}

Isa best_isa() {
  static const Isa best = isa_runs(Isa::Avx512) ? Isa::Avx512 : isa_runs(Isa::Avx2) ? Isa::Avx2 : Isa::Scalar;
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
  }
  return "unknown";
}

const PanelKernels& panel_kernels(Isa isa) {
  switch (isa) {
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
