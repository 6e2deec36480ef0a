// AdamW and the norm that clips it, over flat parameters.
#include <cmath>

#include "kernels/adamw.h"
#include "ops/checks.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

// "[3, 7]" of the first non-finite gradient in logical order, and its value.
std::string first_non_finite(const Parameter& parameter) {
  const at::Tensor grad = get_grad(parameter);
  const float* values = grad.const_data_ptr<float>();
  std::int64_t i = 0;
  while (i < grad.numel() - 1 && std::isfinite(values[i])) ++i;
  const std::string value = std::to_string(values[i]);
  if (parameter.shape.size() == 1) return "[" + std::to_string(i) + "] is " + value;
  const std::int64_t in = parameter.shape[1];
  return "[" + std::to_string(i / in) + ", " + std::to_string(i % in) + "] is " + value;
}

}  // namespace

void adamw(Parameter& parameter, at::Tensor& moment1, at::Tensor& moment2, const AdamWStep& step) {
  ops::check_parameter("adamw", parameter);
  GRPO_CHECK(parameter.trainable, "[adamw] " + parameter.name + ": expected a trainable parameter, got a frozen one");
  ops::check_flat("adamw", parameter.name + ": moment1", moment1, parameter.elements());
  ops::check_flat("adamw", parameter.name + ": moment2", moment2, parameter.elements());
  GRPO_CHECK(step.step >= 1, "[adamw] step: expected 1 or more, got " + std::to_string(step.step));
  const bool has_copy = parameter.compute.scalar_type() == at::kBFloat16;
  kernels::adamw({.master = parameter.master.mutable_data_ptr<float>(),
                  .grad = parameter.grad.mutable_data_ptr<float>(),
                  .moment1 = moment1.mutable_data_ptr<float>(),
                  .moment2 = moment2.mutable_data_ptr<float>(),
                  .compute = has_copy ? static_cast<kernels::bf16*>(parameter.compute.mutable_data_ptr()) : nullptr,
                  .n = parameter.elements(),
                  .learning_rate = step.learning_rate,
                  .beta1 = step.beta1,
                  .beta2 = step.beta2,
                  .epsilon = step.epsilon,
                  .weight_decay = step.weight_decay,
                  .grad_scale = step.grad_scale,
                  .step = step.step},
                 ops::team());
}

double grad_norm(const std::vector<Parameter*>& parameters) {
  double sum = 0;
  for (const Parameter* parameter : parameters) {
    if (!parameter->trainable) continue;
    ops::check_parameter("grad_norm", *parameter);
    const double squares =
        kernels::sum_of_squares(parameter->grad.const_data_ptr<float>(), parameter->elements(), ops::team());
    if (!std::isfinite(squares)) {
      throw Error("[grad_norm] expected finite gradients, got " + parameter->name + first_non_finite(*parameter),
                  ErrorKind::Guard);
    }
    sum += squares;
  }
  return std::sqrt(sum);
}

}  // namespace grpo::inline GRPO_ABI
