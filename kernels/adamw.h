// AdamW on flat fp32 arrays (Loshchilov and Hutter 2019, algorithm 2), in one pass:
//   g = grad_scale grad,  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
//   w -= learning_rate / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + epsilon) + learning_rate weight_decay w
// in fp32, every operation rounded on its own, the factors that depend on the step alone in double first. The result of
// an element depends on nothing but its own values.
#pragma once

#include <cstdint>

#include "kernels/threads.h"
#include "kernels/types.h"

namespace grpo::kernels {

struct AdamWArgs {
  float* master = nullptr;
  const float* grad = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  bf16* compute = nullptr;  // bf16 copy to refresh, or null
  std::int64_t n = 0;
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0;
  double grad_scale = 1;  // clipping
  std::int64_t step = 1;  // from 1, for bias correction
};
void adamw(const AdamWArgs& args, const Team& team);

// Sum of squares in double, in pieces of a fixed size added in order, so the thread count does not matter.
double sum_of_squares(const float* x, std::int64_t n, const Team& team);

}  // namespace grpo::kernels
