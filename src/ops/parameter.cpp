#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "kernels/linear.h"
#include "ops/checks.h"
#include "ops/huge_pages.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::int64_t flat_elements(const Parameter& parameter) { return parameter_elements(parameter.shape, parameter.dtype); }

bool has_copy(const Parameter& parameter) {
  return parameter.layout == ParameterLayout::Panels && parameter.dtype == DType::BFloat16;
}

// Logical values to packed order, padding and all.
void pack_into(const char* op, const Parameter& parameter, const at::Tensor& logical, const at::Tensor& flat) {
  if (!logical.defined() || !logical.is_floating_point() || !logical.device().is_cpu() ||
      logical.sizes() != at::IntArrayRef(parameter.shape)) {
    ops::reject(op, parameter.name, ops::describe(at::empty(parameter.shape, at::kFloat)), ops::describe(logical));
  }
  const at::NoGradGuard no_grad;
  const at::Tensor values = logical.to(at::kFloat).contiguous();
  if (parameter.layout == ParameterLayout::Vector) {
    flat.copy_(values);
  } else {
    kernels::pack(ops::kernel_type(parameter.dtype), values.const_data_ptr<float>(), parameter.shape[0],
                  parameter.shape[1], flat.mutable_data_ptr<float>(), ops::team());
  }
}

}  // namespace

std::int64_t parameter_elements(const std::vector<std::int64_t>& shape, DType dtype) {
  return shape.size() == 2 ? kernels::packed_elements(ops::kernel_type(dtype), shape[0], shape[1]) : shape.at(0);
}

Parameter make_parameter(std::string name, std::vector<std::int64_t> shape, DType dtype, bool trainable) {
  GRPO_CHECK(shape.size() == 1 || shape.size() == 2,
             "[make_parameter] " + name + ": expected 1 or 2 dimensions, got " + std::to_string(shape.size()));
  for (const std::int64_t n : shape) {
    GRPO_CHECK(n > 0, "[make_parameter] " + name + ": expected positive dimensions, got " + std::to_string(n));
  }
  Parameter parameter;
  parameter.name = std::move(name);
  parameter.layout = shape.size() == 2 ? ParameterLayout::Panels : ParameterLayout::Vector;
  parameter.shape = std::move(shape);
  parameter.dtype = dtype;
  parameter.trainable = trainable;
  const std::int64_t n = flat_elements(parameter);
  parameter.master = ops::zeros_on_huge_pages(n, at::kFloat);
  parameter.compute = has_copy(parameter) ? ops::zeros_on_huge_pages(n, at::kBFloat16) : parameter.master;
  return parameter;
}

void set_values(Parameter& parameter, const at::Tensor& values) {
  const at::NoGradGuard no_grad;
  ops::check_parameter("set_values", parameter);
  pack_into("set_values", parameter, values, parameter.master);
  refresh_compute(parameter);
}

at::Tensor get_values(const Parameter& parameter) {
  ops::check_parameter("get_values", parameter);
  return unpack_like(parameter, parameter.master);
}

at::Tensor get_grad(const Parameter& parameter) {
  GRPO_CHECK(parameter.trainable,
             "[get_grad] " + parameter.name + ": expected a trainable parameter, got a frozen one");
  return parameter.grad.defined() ? unpack_like(parameter, parameter.grad) : at::zeros(parameter.shape, at::kFloat);
}

at::Tensor unpack_like(const Parameter& parameter, const at::Tensor& flat) {
  ops::check_flat("unpack_like", parameter.name, flat, flat_elements(parameter));
  at::Tensor values = ops::pooled(parameter.shape, at::kFloat);
  if (parameter.layout == ParameterLayout::Vector) {
    const at::NoGradGuard no_grad;
    values.copy_(flat);
  } else {
    kernels::unpack(ops::kernel_type(parameter.dtype), flat.const_data_ptr<float>(), parameter.shape[0],
                    parameter.shape[1], values.mutable_data_ptr<float>(), ops::team());
  }
  return values;
}

at::Tensor pack_like(const Parameter& parameter, const at::Tensor& logical) {
  const at::Tensor flat = ops::pooled({flat_elements(parameter)}, at::kFloat);
  pack_into("pack_like", parameter, logical, flat);
  return flat;
}

void refresh_compute(Parameter& parameter) {
  ops::check_parameter("refresh_compute", parameter);
  if (!has_copy(parameter)) return;
  kernels::round_to_bf16(parameter.master.const_data_ptr<float>(),
                         static_cast<kernels::bf16*>(parameter.compute.mutable_data_ptr()), parameter.elements(),
                         ops::team());
}

}  // namespace grpo::inline GRPO_ABI
