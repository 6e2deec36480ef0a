// What every operation checks of its arguments, and the way from tensors to the kernels' pointers.
// Messages read "[op] what: expected ..., got ...".
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include <grpo/ops.h>

#include "kernels/types.h"

namespace grpo::ops {

inline constexpr std::int64_t kAny = -1;

// "float32 [3, 4] on cpu", "nothing".
std::string describe(const at::Tensor& tensor);
[[noreturn]] void reject(const std::string& op, const std::string& what, const std::string& expected,
                         const std::string& got);

kernels::Type kernel_type(DType dtype);
kernels::Type kernel_type(const at::Tensor& activations);

// Each returns the tensor made contiguous; on the CPU only.
// fp32 or bf16 [rows, width].
at::Tensor activations(const char* op, const char* name, const at::Tensor& tensor, std::int64_t rows,
                       std::int64_t width);
// Of the same type and shape as `like`.
at::Tensor activations_like(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& like);
// int32 [count], all in [0, limit).
at::Tensor indices(const char* op, const char* name, const at::Tensor& tensor, std::int64_t count, std::int64_t limit);
// fp32 of this many elements, contiguous already (it is written in place).
void check_flat(const char* op, const std::string& name, const at::Tensor& tensor, std::int64_t elements);

// A parameter of this logical shape (kAny: whatever), computing in the type of `x`.
void check_matrix(const char* op, const Parameter& parameter, std::int64_t out, std::int64_t in, const at::Tensor& x);
void check_vector(const char* op, const Parameter& parameter, std::int64_t n);
// Panels or vector, master, compute and grad in agreement.
void check_parameter(const char* op, const Parameter& parameter);

// Where the weight's gradient goes; null when frozen.
float* grad_data(Parameter& parameter);

}  // namespace grpo::ops
