#include "kernels/adamw.h"

#include <emmintrin.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/linear.h"

namespace grpo::kernels {
namespace {

constexpr std::int64_t kGrain = 1 << 14;  // elements worth a thread; also the piece of sum_of_squares

// The step's scalars, computed in double and rounded once.
//   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2        g = grad_scale * grad
//   w -= rate m / (sqrt(v) * root + epsilon) + decay w
// with rate = learning_rate / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t), decay = learning_rate * weight_decay.
struct Scalars {
  float grad_scale, beta1, rest1, beta2, rest2, rate, root, epsilon, decay;
};

Scalars scalars(const AdamWArgs& args) {
  const double step = static_cast<double>(args.step);
  const double bias1 = 1 - std::pow(args.beta1, step), bias2 = 1 - std::pow(args.beta2, step);
  const auto f = [](double x) { return static_cast<float>(x); };
  return {f(args.grad_scale),      f(args.beta1),     f(1 - args.beta1),
          f(args.beta2),           f(1 - args.beta2), f(args.learning_rate / bias1),
          f(1 / std::sqrt(bias2)), f(args.epsilon),   f(args.learning_rate * args.weight_decay)};
}

// The scalars in every lane. SSE2 only, which every x86-64 has, and no FMA: each operation is rounded on its own,
// everywhere alike.
struct Lanes {
  __m128 grad_scale, beta1, rest1, beta2, rest2, rate, root, epsilon, decay;
  explicit Lanes(const Scalars& s)
      : grad_scale(_mm_set1_ps(s.grad_scale)),
        beta1(_mm_set1_ps(s.beta1)),
        rest1(_mm_set1_ps(s.rest1)),
        beta2(_mm_set1_ps(s.beta2)),
        rest2(_mm_set1_ps(s.rest2)),
        rate(_mm_set1_ps(s.rate)),
        root(_mm_set1_ps(s.root)),
        epsilon(_mm_set1_ps(s.epsilon)),
        decay(_mm_set1_ps(s.decay)) {}

  void update4(float* w, const float* g, float* m, float* v) const {
    const __m128 grad = _mm_mul_ps(_mm_loadu_ps(g), grad_scale), value = _mm_loadu_ps(w);
    const __m128 mean = _mm_add_ps(_mm_mul_ps(beta1, _mm_loadu_ps(m)), _mm_mul_ps(rest1, grad));
    const __m128 square = _mm_add_ps(_mm_mul_ps(beta2, _mm_loadu_ps(v)), _mm_mul_ps(rest2, _mm_mul_ps(grad, grad)));
    const __m128 scale = _mm_add_ps(_mm_mul_ps(_mm_sqrt_ps(square), root), epsilon);
    const __m128 step = _mm_add_ps(_mm_mul_ps(rate, _mm_div_ps(mean, scale)), _mm_mul_ps(decay, value));
    _mm_storeu_ps(w, _mm_sub_ps(value, step));
    _mm_storeu_ps(m, mean);
    _mm_storeu_ps(v, square);
  }
};

// A run short enough to stay in the first cache between the passes over it.
void update(const AdamWArgs& args, const Lanes& lanes, std::int64_t begin, std::int64_t end) {
  float *w = args.master, *m = args.moment1, *v = args.moment2;
  const float* g = args.grad;
  std::int64_t i = begin;
  for (; i + 4 <= end; i += 4) lanes.update4(w + i, g + i, m + i, v + i);
  for (; i < end; ++i) {
    float last[4][4] = {{w[i]}, {g[i]}, {m[i]}, {v[i]}};
    lanes.update4(last[0], last[1], last[2], last[3]);
    w[i] = last[0][0], m[i] = last[2][0], v[i] = last[3][0];
  }
  if (args.compute != nullptr) round_to_bf16(w + begin, args.compute + begin, end - begin, {});
}

constexpr std::int64_t kLanes = 8;

double piece_sum(const float* x, std::int64_t n) {
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
  for (std::int64_t j = 0; i < n; ++i, ++j) lanes[j] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

}  // namespace

void adamw(const AdamWArgs& args, const Team& team) {
  constexpr std::int64_t kRun = 1024;
  const Lanes lanes(scalars(args));
  team.split(args.n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    const Lanes local = lanes;  // of this thread, so that the compiler keeps it in registers
    for (std::int64_t run = begin; run < end; run += kRun) update(args, local, run, std::min(run + kRun, end));
  });
}

double sum_of_squares(const float* x, std::int64_t n, const Team& team) {
  const std::int64_t pieces = (n + kGrain - 1) / kGrain;
  std::vector<double> sums(static_cast<std::size_t>(pieces));
  team.split(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      sums[static_cast<std::size_t>(i)] = piece_sum(x + i * kGrain, std::min(kGrain, n - i * kGrain));
  });
  double sum = 0;
  for (const double piece : sums) sum += piece;
  return sum;
}

}  // namespace grpo::kernels
