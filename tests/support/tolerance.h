// Comparisons with computed bounds. A failure prints the worst index, both values and the bound.
#pragma once

#include <cmath>
#include <limits>
#include <string>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

namespace grpo::testing {

// Half a unit in the last place of 1: the relative error of one rounding.
inline double unit_roundoff(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return std::ldexp(1.0, -24);
    case at::kBFloat16:
      return std::ldexp(1.0, -8);
    case at::kDouble:
      return std::ldexp(1.0, -53);
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

// "[1, 7]": the coordinates of flat element i.
inline std::string index_text(at::IntArrayRef shape, std::int64_t i) {
  std::string text;
  for (std::size_t d = shape.size(); d-- > 0; i /= shape[d]) {
    text = std::to_string(i % shape[d]) + (text.empty() ? "" : ", ") + text;
  }
  return "[" + text + "]";
}

// |got - want| <= bound for every element; `bound` broadcasts. Not a number is never within.
inline ::testing::AssertionResult within(const at::Tensor& got, const at::Tensor& want, const at::Tensor& bound) {
  if (!got.defined() || got.sizes() != want.sizes()) return ::testing::AssertionFailure() << "shapes differ";
  if (want.numel() == 0) return ::testing::AssertionSuccess();
  const at::NoGradGuard no_grad;
  const at::Tensor a = got.to(at::kDouble).contiguous(), b = want.to(at::kDouble).contiguous();
  const at::Tensor limit = bound.to(at::kDouble).expand_as(b).contiguous();
  double worst = -1;
  std::int64_t at_index = 0;
  for (std::int64_t i = 0; i < b.numel(); ++i) {
    const double error = std::abs(a.const_data_ptr<double>()[i] - b.const_data_ptr<double>()[i]);
    const double allowed = limit.const_data_ptr<double>()[i];
    const double excess = error <= allowed ? (allowed > 0 ? error / allowed : 0) : error - allowed + 2;
    if (std::isnan(excess) || excess > worst) {
      worst = std::isnan(excess) ? std::numeric_limits<double>::infinity() : excess;
      at_index = i;
    }
  }
  if (worst <= 1) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "worst at " << index_text(b.sizes(), at_index) << ": got "
                                       << a.const_data_ptr<double>()[at_index] << ", want "
                                       << b.const_data_ptr<double>()[at_index] << ", bound "
                                       << limit.const_data_ptr<double>()[at_index];
}

// The same bits (so +0 and -0 differ); types and shapes too.
inline ::testing::AssertionResult bit_equal(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) {
    return ::testing::AssertionFailure() << "types or shapes differ";
  }
  const at::Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  const auto size = static_cast<std::int64_t>(x.element_size());
  const char* from = static_cast<const char*>(x.const_data_ptr());
  const char* to = static_cast<const char*>(y.const_data_ptr());
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    if (std::equal(from + i * size, from + (i + 1) * size, to + i * size)) continue;
    const at::Tensor u = x.flatten()[i].to(at::kDouble), v = y.flatten()[i].to(at::kDouble);
    return ::testing::AssertionFailure() << "first difference at " << index_text(x.sizes(), i) << ": "
                                         << u.item<double>() << " and " << v.item<double>();
  }
  return ::testing::AssertionSuccess();
}

}  // namespace grpo::testing
