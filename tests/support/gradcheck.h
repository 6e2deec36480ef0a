// Gradients against finite differences along random directions.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "support/tolerance.h"

namespace grpo::testing {

struct GradcheckOptions {
  double step = 1.0 / 64;  // a power of two, so that point + step is nearly exact
  double noise = 0;        // bound of the rounding error of one value
  int directions = 3;
};

// `gradients` of `value` at `point`, along directions d of +-1. With D(h) the central difference, the best estimate is
// (4 D(h) - D(2h)) / 3; its error is below |D(h) - D(2h)| / 3 (the term it removes) plus 2 noise / h. A check that
// could not see an error of 5 % of the gradient's norm fails as too coarse.
inline ::testing::AssertionResult gradcheck(const std::function<double(const std::vector<at::Tensor>&)>& value,
                                            const std::vector<at::Tensor>& point,
                                            const std::vector<at::Tensor>& gradients,
                                            const GradcheckOptions& options = {}) {
  const at::NoGradGuard no_grad;
  std::mt19937 random(7);
  for (int trial = 0; trial < options.directions; ++trial) {
    std::vector<at::Tensor> direction;
    double analytic = 0, squares = 0, noise = options.noise;
    for (std::size_t i = 0; i < point.size(); ++i) {
      const at::Tensor d = at::empty(point[i].sizes(), at::kDouble);
      for (std::int64_t j = 0; j < d.numel(); ++j) d.mutable_data_ptr<double>()[j] = random() % 2 == 0 ? 1 : -1;
      const at::Tensor g = gradients[i].to(at::kDouble);
      analytic += (g * d).sum().item<double>();
      squares += (g * g).sum().item<double>();
      noise += unit_roundoff(point[i].scalar_type()) * (g * point[i].to(at::kDouble)).abs().sum().item<double>();
      direction.push_back(d);
    }
    const auto moved = [&](double h) {
      std::vector<at::Tensor> at_h;
      for (std::size_t i = 0; i < point.size(); ++i) {
        at_h.push_back((point[i].to(at::kDouble) + h * direction[i]).to(point[i].scalar_type()));
      }
      return value(at_h);
    };
    const auto central = [&](double h) { return (moved(h) - moved(-h)) / (2 * h); };
    const double near = central(options.step), far = central(2 * options.step);
    const double numeric = (4 * near - far) / 3, tolerance = std::abs(near - far) / 3 + 2 * noise / options.step;
    if (!(tolerance <= 0.05 * std::sqrt(squares))) {
      return ::testing::AssertionFailure()
             << "too coarse: tolerance " << tolerance << " for a gradient of norm " << std::sqrt(squares);
    }
    if (!(std::abs(numeric - analytic) <= tolerance)) {
      return ::testing::AssertionFailure() << "direction " << trial << ": differences give " << numeric
                                           << ", gradients give " << analytic << ", bound " << tolerance;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace grpo::testing
