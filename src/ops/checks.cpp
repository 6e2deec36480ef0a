#include "ops/checks.h"

#include "ops/pool.h"

namespace grpo::ops {
namespace {

std::string type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kDouble:
      return "float64";
    case at::kHalf:
      return "float16";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    default:  // an enum of LibTorch's, with more to come
      return c10::toString(type);
  }
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] == kAny ? "any" : std::to_string(shape[i]);
  }
  return text + "]";
}

bool fits(at::IntArrayRef shape, at::IntArrayRef wanted) {
  if (shape.size() != wanted.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (wanted[i] != kAny && shape[i] != wanted[i]) return false;
  }
  return true;
}

bool is_activation(const at::Tensor& t) {
  return t.defined() && t.device().is_cpu() && t.layout() == at::kStrided &&
         (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

void check_shape(const char* op, const Parameter& parameter, ParameterLayout layout, at::IntArrayRef wanted) {
  check_parameter(op, parameter);
  if (parameter.layout == layout && fits(parameter.shape, wanted)) return;
  reject(op, parameter.name, "a parameter " + shape_text(wanted), shape_text(parameter.shape));
}

}  // namespace

std::string describe(const at::Tensor& tensor) {
  if (!tensor.defined()) return "nothing";
  return type_name(tensor.scalar_type()) + " " + shape_text(tensor.sizes()) + " on " + tensor.device().str();
}

void reject(const std::string& op, const std::string& what, const std::string& expected, const std::string& got) {
  throw Error("[" + op + "] " + what + ": expected " + expected + ", got " + got);
}

kernels::Type kernel_type(DType dtype) { return dtype == DType::BFloat16 ? kernels::Type::BF16 : kernels::Type::F32; }

kernels::Type kernel_type(const at::Tensor& activations) {
  return activations.scalar_type() == at::kBFloat16 ? kernels::Type::BF16 : kernels::Type::F32;
}

at::Tensor activations(const char* op, const char* name, const at::Tensor& tensor, std::int64_t rows,
                       std::int64_t width) {
  if (!is_activation(tensor) || !fits(tensor.sizes(), {rows, width})) {
    reject(op, name, "float32 or bfloat16 " + shape_text({rows, width}) + " on cpu", describe(tensor));
  }
  return tensor.contiguous();
}

at::Tensor activations_like(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& like) {
  if (!is_activation(tensor) || tensor.scalar_type() != like.scalar_type() || tensor.sizes() != like.sizes()) {
    reject(op, name, describe(like), describe(tensor));
  }
  return tensor.contiguous();
}

at::Tensor indices(const char* op, const char* name, const at::Tensor& tensor, std::int64_t count, std::int64_t limit) {
  if (!tensor.defined() || !tensor.device().is_cpu() || tensor.scalar_type() != at::kInt ||
      !fits(tensor.sizes(), {count})) {
    reject(op, name, "int32 " + shape_text({count}) + " on cpu", describe(tensor));
  }
  const at::Tensor flat = tensor.contiguous();
  const std::int32_t* values = flat.const_data_ptr<std::int32_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    if (values[i] >= 0 && values[i] < limit) continue;
    reject(op, std::string(name) + "[" + std::to_string(i) + "]", "an index in [0, " + std::to_string(limit) + ")",
           std::to_string(values[i]));
  }
  return flat;
}

void check_flat(const char* op, const std::string& name, const at::Tensor& tensor, std::int64_t elements) {
  if (tensor.defined() && tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
      tensor.dim() == 1 && tensor.numel() == elements) {
    return;
  }
  reject(op, name, "contiguous float32 " + shape_text({elements}) + " on cpu", describe(tensor));
}

void check_matrix(const char* op, const Parameter& parameter, std::int64_t out, std::int64_t in, const at::Tensor& x) {
  check_shape(op, parameter, ParameterLayout::Panels, {out, in});
  if (kernel_type(parameter.dtype) == kernel_type(x)) return;
  reject(op, parameter.name, "the activations' type, " + type_name(x.scalar_type()),
         parameter.dtype == DType::BFloat16 ? "bfloat16" : "float32");
}

void check_vector(const char* op, const Parameter& parameter, std::int64_t n) {
  check_shape(op, parameter, ParameterLayout::Vector, {n});
}

void check_parameter(const char* op, const Parameter& parameter) {
  GRPO_CHECK(
      parameter.master.defined() && parameter.compute.defined(),
      std::string("[") + op + "] " + parameter.name + ": expected a parameter with values (make_parameter), got none");
}

float* grad_data(Parameter& parameter) {
  if (!parameter.trainable) return nullptr;
  if (!parameter.grad.defined()) parameter.grad = pooled({parameter.elements()}, at::kFloat).zero_();
  return parameter.grad.mutable_data_ptr<float>();
}

}  // namespace grpo::ops
