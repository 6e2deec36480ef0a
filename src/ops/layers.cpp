// The row-wise operations of a decoder layer.
#include "kernels/layers.h"

#include "ops/autograd.h"
#include "ops/checks.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps) {
  const at::Tensor x_TD = ops::activations("rms_norm", "x", x, ops::kAny, ops::kAny);
  const std::int64_t rows = x_TD.size(0), width = x_TD.size(1);
  ops::check_vector("rms_norm", weight, width);
  GRPO_CHECK(eps >= 0, "[rms_norm] eps: expected 0 or more, got " + std::to_string(eps));
  const kernels::Type type = ops::kernel_type(x_TD);
  const bool wants_grad = ops::wants_grad({x_TD}, {&weight});
  const at::Tensor y_TD = ops::pooled({rows, width}, x_TD.scalar_type());
  const at::Tensor inv_rms_T = wants_grad ? ops::pooled({rows}, weight.master.scalar_type()) : at::Tensor();
  kernels::rms_norm(type, x_TD.const_data_ptr(), weight.compute.const_data_ptr<float>(), static_cast<float>(eps), rows,
                    width, y_TD.mutable_data_ptr(), wants_grad ? inv_rms_T.mutable_data_ptr<float>() : nullptr,
                    ops::isa(), ops::team());
  if (!wants_grad) return y_TD;
  ops::record("rms_norm", {x_TD}, {y_TD}, [=, &weight](const ops::Tensors& grads) -> ops::Tensors {
    if (!grads[0].defined()) return {at::Tensor()};
    const at::Tensor dy_TD = grads[0].contiguous();
    const at::Tensor dx_TD = ops::pooled({rows, width}, x_TD.scalar_type());
    at::Tensor dropped;
    if (!weight.trainable) dropped = weight.master.new_zeros({width});
    float* dweight_D = weight.trainable ? ops::grad_data(weight) : dropped.mutable_data_ptr<float>();
    kernels::rms_norm_grad(type, x_TD.const_data_ptr(), weight.compute.const_data_ptr<float>(),
                           inv_rms_T.const_data_ptr<float>(), dy_TD.const_data_ptr(), rows, width,
                           dx_TD.mutable_data_ptr(), dweight_D, ops::team());
    return {dx_TD};
  });
  return y_TD;
}

at::Tensor rope(const at::Tensor& x, std::int64_t heads, const at::Tensor& positions, const at::Tensor& table) {
  const at::Tensor x_THE = ops::activations("rope", "x", x, ops::kAny, ops::kAny);
  const std::int64_t rows = x_THE.size(0), width = x_THE.size(1);
  GRPO_CHECK(heads > 0 && width % (2 * heads) == 0, "[rope] x: expected heads of an even size, got " +
                                                        std::to_string(width) + " for " + std::to_string(heads) +
                                                        " heads");
  const std::int64_t head = width / heads;
  if (!table.defined() || table.dim() != 3 || table.size(1) != head / 2 || table.size(2) != 2 ||
      table.scalar_type() != at::kFloat || !table.device().is_cpu()) {
    ops::reject("rope", "table", "float32 [positions, " + std::to_string(head / 2) + ", 2] on cpu",
                ops::describe(table));
  }
  const at::Tensor table_PE = table.contiguous();
  const at::Tensor positions_T = ops::indices("rope", "positions", positions, rows, table.size(0));
  const auto rotate = [=](const at::Tensor& from, bool inverse) {
    const at::Tensor to = ops::pooled({rows, width}, from.scalar_type());
    kernels::rope(ops::kernel_type(from), from.const_data_ptr(), positions_T.const_data_ptr<std::int32_t>(),
                  table_PE.const_data_ptr<float>(), rows, heads, head, inverse, to.mutable_data_ptr(), ops::isa(),
                  ops::team());
    return to;
  };
  const at::Tensor y_THE = rotate(x_THE, /*inverse=*/false);
  if (!ops::wants_grad({x_THE})) return y_THE;
  ops::record("rope", {x_THE}, {y_THE}, [rotate](const ops::Tensors& grads) -> ops::Tensors {
    return {grads[0].defined() ? rotate(grads[0].contiguous(), /*inverse=*/true) : at::Tensor()};
  });
  return y_THE;
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  const at::Tensor gate_TF = ops::activations("swiglu", "gate", gate, ops::kAny, ops::kAny);
  const at::Tensor up_TF = ops::activations_like("swiglu", "up", up, gate_TF);
  const kernels::Type type = ops::kernel_type(gate_TF);
  const at::Tensor y_TF = ops::pooled(gate_TF.sizes(), gate_TF.scalar_type());
  kernels::swiglu(type, gate_TF.const_data_ptr(), up_TF.const_data_ptr(), y_TF.numel(), y_TF.mutable_data_ptr(),
                  ops::isa(), ops::team());
  if (!ops::wants_grad({gate_TF, up_TF})) return y_TF;
  ops::record("swiglu", {gate_TF, up_TF}, {y_TF}, [=](const ops::Tensors& grads) -> ops::Tensors {
    if (!grads[0].defined()) return {at::Tensor(), at::Tensor()};
    const at::Tensor dy_TF = grads[0].contiguous();
    const at::Tensor dgate_TF = ops::pooled(gate_TF.sizes(), gate_TF.scalar_type()),
                     dup_TF = ops::pooled(gate_TF.sizes(), gate_TF.scalar_type());
    kernels::swiglu_grad(type, gate_TF.const_data_ptr(), up_TF.const_data_ptr(), dy_TF.const_data_ptr(), dy_TF.numel(),
                         dgate_TF.mutable_data_ptr(), dup_TF.mutable_data_ptr(), ops::isa(), ops::team());
    return {dgate_TF, dup_TF};
  });
  return y_TF;
}

at::Tensor add(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor a_TD = ops::activations("add", "a", a, ops::kAny, ops::kAny);
  const at::Tensor b_TD = ops::activations_like("add", "b", b, a_TD);
  const at::Tensor y_TD = ops::pooled(a_TD.sizes(), a_TD.scalar_type());
  kernels::add(ops::kernel_type(a_TD), a_TD.const_data_ptr(), b_TD.const_data_ptr(), y_TD.numel(),
               y_TD.mutable_data_ptr(), ops::isa(), ops::team());
  if (!ops::wants_grad({a_TD, b_TD})) return y_TD;
  ops::record("add", {a_TD, b_TD}, {y_TD}, [](const ops::Tensors& grads) -> ops::Tensors {
    return {grads[0], grads[0]};
  });
  return y_TD;
}

}  // namespace grpo::inline GRPO_ABI
