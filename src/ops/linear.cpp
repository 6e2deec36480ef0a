#include "ops/linear.h"

#include <memory>
#include <utility>

#include "kernels/linear.h"

#include "ops/autograd.h"
#include "ops/checks.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

at::Tensor input_grad(const at::Tensor& dy, const Parameter& weight) {
  const at::Tensor dx = ops::pooled({dy.size(0), weight.shape[1]}, dy.scalar_type());
  const kernels::Type type = ops::kernel_type(dy);
  kernels::linear_input_grad({.dy_type = type,
                              .dy = dy.const_data_ptr(),
                              .rows = dy.size(0),
                              .dy_stride = dy.size(1),
                              .weight_type = type,
                              .weight = weight.compute.const_data_ptr(),
                              .out = weight.shape[0],
                              .in = weight.shape[1],
                              .first = 0,
                              .last = weight.shape[0],
                              .dx_type = type,
                              .dx = dx.mutable_data_ptr(),
                              .dx_stride = dx.size(1)},
                             ops::isa(), ops::team());
  return dx;
}

void add_weight_grad(const at::Tensor& dy, const at::Tensor& x, Parameter& weight, Parameter* bias) {
  const kernels::Type type = ops::kernel_type(x);
  kernels::linear_weight_grad({.dy_type = type,
                               .dy = dy.const_data_ptr(),
                               .rows = dy.size(0),
                               .dy_stride = dy.size(1),
                               .x_type = type,
                               .x = x.const_data_ptr(),
                               .x_stride = x.size(1),
                               .order = type,
                               .grad = ops::grad_data(weight),
                               .out = weight.shape[0],
                               .in = weight.shape[1],
                               .first = 0,
                               .last = weight.shape[0],
                               .bias_grad = bias == nullptr ? nullptr : ops::grad_data(*bias)},
                              ops::isa(), ops::team());
}

}  // namespace

at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias) {
  return ops::linear(x, nullptr, weight, bias);
}

}  // namespace grpo::inline GRPO_ABI

namespace grpo::ops {

Again once(Again make) {
  return [make = std::move(make), made = std::make_shared<at::Tensor>()] {
    if (!made->defined()) *made = make();
    return *made;
  };
}

at::Tensor linear(const at::Tensor& x, Again again, Parameter& weight, Parameter* bias) {
  const at::Tensor x_TI = ops::activations("linear", "x", x, ops::kAny, ops::kAny);
  ops::check_matrix("linear", weight, ops::kAny, x_TI.size(1), x_TI);
  const std::int64_t out = weight.shape[0];
  if (bias != nullptr) ops::check_vector("linear", *bias, out);
  const kernels::Type type = ops::kernel_type(x_TI);
  const at::Tensor y_TO = ops::pooled({x_TI.size(0), out}, x_TI.scalar_type());
  kernels::linear({.type = type,
                   .x = x_TI.const_data_ptr(),
                   .rows = x_TI.size(0),
                   .in = x_TI.size(1),
                   .x_stride = x_TI.size(1),
                   .weight = weight.compute.const_data_ptr(),
                   .out = out,
                   .first = 0,
                   .last = out,
                   .bias = bias == nullptr ? nullptr : bias->compute.const_data_ptr<float>(),
                   .y_type = type,
                   .y = y_TO.mutable_data_ptr(),
                   .y_stride = out},
                  ops::isa(), ops::team());
  if (!ops::wants_grad({x_TI}, {&weight, bias})) return y_TO;
  GRPO_CHECK(bias == nullptr || bias->trainable == weight.trainable,
             "[linear] " + bias->name + ": expected bias and weight to be trainable together, got one of them frozen");
  const at::Tensor kept = again ? at::Tensor() : x_TI;
  ops::record("linear", {x_TI}, {y_TO},
              [kept, again = std::move(again), &weight, bias,
               dx_wanted = x_TI.requires_grad()](const ops::Tensors& grads) -> ops::Tensors {
                if (!grads[0].defined()) return {at::Tensor()};
                const at::Tensor dy_TO = grads[0].contiguous();
                if (weight.trainable) add_weight_grad(dy_TO, again ? again() : kept, weight, bias);
                return {dx_wanted ? input_grad(dy_TO, weight) : at::Tensor()};
              });
  return y_TO;
}

}  // namespace grpo::ops
