// Small tensors, parameters and switches for tests of operations.
#pragma once

#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <grpo/ops.h>

namespace grpo::testing {

// Normal values rounded to `type`.
inline at::Tensor random_tensor(at::IntArrayRef shape, int seed, at::ScalarType type = at::kFloat, double scale = 1) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::normal_distribution<double> normal(0, scale);
  const at::Tensor values = at::empty(shape, at::kDouble);
  for (std::int64_t i = 0; i < values.numel(); ++i) values.mutable_data_ptr<double>()[i] = normal(random);
  return values.to(type);
}

inline at::Tensor int_tensor(const std::vector<std::int32_t>& values) {
  return at::tensor(values, at::TensorOptions().dtype(at::kInt));
}

inline Parameter random_parameter(std::vector<std::int64_t> shape, DType dtype, int seed, double scale = 1,
                                  bool trainable = true) {
  Parameter parameter = make_parameter("weight", shape, dtype, trainable);
  set_values(parameter, random_tensor(shape, seed, at::kFloat, scale));
  return parameter;
}

// What the kernels compute with, in double: bf16 weights are rounded.
inline at::Tensor computed_values(const Parameter& parameter) {
  const at::Tensor values = get_values(parameter);
  return (parameter.dtype == DType::BFloat16 ? values.to(at::kBFloat16) : values).to(at::kDouble);
}

inline at::ScalarType scalar_type(DType dtype) { return dtype == DType::BFloat16 ? at::kBFloat16 : at::kFloat; }

// A leaf of its own with the same values.
inline at::Tensor leaf(const at::Tensor& values) { return values.detach().clone().set_requires_grad(true); }
inline at::Tensor leaf64(const at::Tensor& values) {
  return values.detach().to(at::kDouble, false, true).set_requires_grad(true);
}

// Restores threads and instruction set.
class OpsTest : public ::testing::Test {
 protected:
  void TearDown() override {
    set_threads(0);
    force_isa("");
  }
};

// Runs `f` and returns the message of its Error; fails the test without one.
template <class F>
std::string error_of(const F& f, ErrorKind kind = ErrorKind::User) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

}  // namespace grpo::testing
