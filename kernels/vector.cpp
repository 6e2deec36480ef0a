#include "kernels/vector.h"

#include "kernels/linear.h"

namespace grpo::kernels {

const VectorKernels& vector_kernels(Isa isa) {
  switch (isa) {
    case Isa::Amx:
    case Isa::Avx512Bf16:
    case Isa::Avx512:
      return vector_avx512;
    case Isa::Avx2:
      return vector_avx2;
    case Isa::Scalar:
      break;
  }
  return vector_scalar;
}

}  // namespace grpo::kernels
