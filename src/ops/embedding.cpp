#include "kernels/layers.h"
#include "ops/autograd.h"
#include "ops/checks.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {

at::Tensor embedding(Parameter& weight, const at::Tensor& ids) {
  ops::check_matrix("embedding", weight, ops::kAny, ops::kAny, weight.compute);
  const std::int64_t width = weight.shape[1];
  const at::Tensor ids_T = ops::indices("embedding", "ids", ids, ops::kAny, weight.shape[0]);
  const std::int64_t rows = ids_T.numel();
  const kernels::Type type = ops::kernel_type(weight.dtype);
  const at::Tensor out_TD = ops::pooled({rows, width}, weight.compute.scalar_type());
  kernels::embedding(type, weight.compute.const_data_ptr(), width, ids_T.const_data_ptr<std::int32_t>(), rows,
                     out_TD.mutable_data_ptr(), ops::team());
  if (!ops::wants_grad({}, {&weight})) return out_TD;
  ops::record("embedding", {}, {out_TD}, [=, &weight](const ops::Tensors& grads) -> ops::Tensors {
    if (!grads[0].defined()) return {};
    const at::Tensor dy_TD = grads[0].contiguous();
    kernels::embedding_grad(type, dy_TD.const_data_ptr(), width, ids_T.const_data_ptr<std::int32_t>(), rows,
                            ops::grad_data(weight), ops::team());
    return {};
  });
  return out_TD;
}

}  // namespace grpo::inline GRPO_ABI
