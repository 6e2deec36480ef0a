// One table per instruction set, each defined in its own file (linear_<isa>.cpp).
#pragma once

#include "kernels/panel.h"

namespace grpo::kernels {

extern const PanelKernels panel_scalar, panel_avx2, panel_avx512;
extern const PanelKernel<bf16> pairs_avx512bf16, pairs_amx;

}  // namespace grpo::kernels
