// AdamW and the norm that clips it, over flat parameters.
#include <cmath>

#include <ATen/ops/zeros.h>

#include "kernels/adamw.h"
#include "ops/checks.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

// "[3, 7]" of the first non-finite value of a piece of the gradient in logical order, and the value.
std::string first_non_finite(const Parameter& parameter, std::int64_t begin, const at::Tensor& piece) {
  at::Tensor flat = at::zeros({parameter.elements()}, at::kFloat);
  flat.narrow(0, begin, piece.numel()).copy_(piece);
  const at::Tensor grad = unpack_like(parameter, flat);
  const float* values = grad.const_data_ptr<float>();
  std::int64_t i = 0;
  while (i < grad.numel() - 1 && std::isfinite(values[i])) ++i;
  const std::string value = std::to_string(values[i]);
  if (parameter.shape.size() == 1) return "[" + std::to_string(i) + "] is " + value;
  const std::int64_t in = parameter.shape[1];
  return "[" + std::to_string(i / in) + ", " + std::to_string(i % in) + "] is " + value;
}

void check_piece(const char* op, const Parameter& parameter, std::int64_t begin, std::int64_t count) {
  GRPO_CHECK(begin >= 0 && count >= 0 && begin + count <= parameter.elements(),
             std::string("[") + op + "] " + parameter.name + ": expected a piece of [0, " +
                 std::to_string(parameter.elements()) + "), got [" + std::to_string(begin) + ", " +
                 std::to_string(begin + count) + ")");
}

}  // namespace

void adamw(Parameter& parameter, at::Tensor& moment1, at::Tensor& moment2, const AdamWStep& step) {
  ops::check_flat("adamw", parameter.name + ": moment1", moment1, parameter.elements());
  ops::grad_data(parameter);  // none yet: zeros
  adamw_piece(parameter, 0, parameter.grad, moment1, moment2, step);
  parameter.grad.zero_();
}

void adamw_piece(Parameter& parameter, std::int64_t begin, const at::Tensor& grad, at::Tensor& moment1,
                 at::Tensor& moment2, const AdamWStep& step) {
  ops::check_parameter("adamw", parameter);
  GRPO_CHECK(parameter.trainable, "[adamw] " + parameter.name + ": expected a trainable parameter, got a frozen one");
  const std::int64_t count = moment1.numel();
  check_piece("adamw", parameter, begin, count);
  ops::check_flat("adamw", parameter.name + ": grad", grad, count);
  ops::check_flat("adamw", parameter.name + ": moment2", moment2, count);
  GRPO_CHECK(step.step >= 1, "[adamw] step: expected 1 or more, got " + std::to_string(step.step));
  const bool has_copy = parameter.compute.scalar_type() == at::kBFloat16;
  kernels::adamw(
      {.master = parameter.master.mutable_data_ptr<float>() + begin,
       .grad = grad.const_data_ptr<float>(),
       .moment1 = moment1.mutable_data_ptr<float>(),
       .moment2 = moment2.mutable_data_ptr<float>(),
       .compute = has_copy ? static_cast<kernels::bf16*>(parameter.compute.mutable_data_ptr()) + begin : nullptr,
       .n = count,
       .learning_rate = step.learning_rate,
       .beta1 = step.beta1,
       .beta2 = step.beta2,
       .epsilon = step.epsilon,
       .weight_decay = step.weight_decay,
       .grad_scale = step.grad_scale,
       .step = step.step},
      ops::team());
}

double squared_norm(const Parameter& parameter, std::int64_t begin, const at::Tensor& grad) {
  ops::check_parameter("squared_norm", parameter);
  check_piece("squared_norm", parameter, begin, grad.numel());
  ops::check_flat("squared_norm", parameter.name + ": grad", grad, grad.numel());
  const double squares = kernels::sum_of_squares(grad.const_data_ptr<float>(), grad.numel(), ops::team());
  if (!std::isfinite(squares)) {
    throw Error(
        "[grad_norm] expected finite gradients, got " + parameter.name + first_non_finite(parameter, begin, grad),
        ErrorKind::Guard);
  }
  return squares;
}

double grad_norm(const std::vector<Parameter*>& parameters) {
  double sum = 0;
  for (const Parameter* parameter : parameters)
    if (parameter->trainable && parameter->grad.defined()) sum += squared_norm(*parameter, 0, parameter->grad);
  return std::sqrt(sum);
}

}  // namespace grpo::inline GRPO_ABI
