#include "kernels/isa.h"

#include "kernels/linear.h"
#include "kernels/panel.h"
#include "kernels/panel_tables.h"

namespace grpo::kernels {

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
  if (isa == Isa::Avx512) {
    need("avx512f", __builtin_cpu_supports("avx512f"));
    need("avx512bw", __builtin_cpu_supports("avx512bw"));
    need("avx512vl", __builtin_cpu_supports("avx512vl"));
    need("avx512dq", __builtin_cpu_supports("avx512dq"));
  }
  return lacking;
}

bool isa_runs(Isa isa) { return isa_lacks(isa).empty(); }

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
