// Memory of weights. A decode step reads all of them once; on pages of 2 MB the reads lose no time to address
// translation.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace grpo::ops {

// Flat zeros. Tensors made one after the other lie one after the other, each from a multiple of 64 bytes, and pages are
// committed as they are touched. What a tensor held comes back when all that share its 64 MB are gone.
at::Tensor zeros_on_huge_pages(std::int64_t elements, at::ScalarType type);

}  // namespace grpo::ops
