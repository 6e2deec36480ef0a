// AdamW against the algorithm in double, and the norm of gradients.
#include "kernels/adamw.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/linear_cases.h"

namespace grpo::kernels {
namespace {

struct State {
  Floats master, grad, moment1, moment2;
  Halves compute;

  explicit State(std::int64_t n, unsigned seed = 1)
      : master(random_floats(n, seed)),
        grad(random_floats(n, seed + 1)),
        moment1(random_floats(n, seed + 2)),
        moment2(random_floats(n, seed + 3)),
        compute(static_cast<std::size_t>(n)) {
    for (float& x : moment2) x = x * x;
  }
  AdamWArgs args() {
    AdamWArgs a;
    a.master = master.data();
    a.grad = grad.data();
    a.moment1 = moment1.data();
    a.moment2 = moment2.data();
    a.compute = compute.data();
    a.n = static_cast<std::int64_t>(master.size());
    a.learning_rate = 3e-3;
    a.weight_decay = 0.1;
    return a;
  }
};

// Algorithm 2 of Loshchilov and Hutter in double, with the schedule multiplier inside learning_rate. Rounding every
// input scalar and result to fp32 and each of the few operations in between leaves relative errors of a few u in m, v
// and the step (no term cancels but in m and in w - step, where errors are relative to the terms): 16 u is generous,
// and a wrong formula misses by far more.
void expect_step(const State& before, const State& after, const AdamWArgs& a) {
  const double u = std::ldexp(1.0, -24), slack = 16 * u;
  for (std::size_t i = 0; i < before.master.size(); ++i) {
    const double w = before.master[i], g = a.grad_scale * before.grad[i];
    const double m_old = a.beta1 * before.moment1[i], v_old = a.beta2 * before.moment2[i];
    const double m = m_old + (1 - a.beta1) * g, v = v_old + (1 - a.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(a.beta1, a.step)), v_hat = v / (1 - std::pow(a.beta2, a.step));
    const double step = a.learning_rate * m_hat / (std::sqrt(v_hat) + a.epsilon);
    const double decay = a.learning_rate * a.weight_decay * w;
    const double m_error = slack * (std::abs(m_old) + std::abs((1 - a.beta1) * g));
    const double step_error = slack * std::abs(step) + std::abs(step / m) * m_error;
    ASSERT_NEAR(after.moment1[i], m, m_error) << i;
    ASSERT_NEAR(after.moment2[i], v, slack * v) << i;
    ASSERT_NEAR(after.master[i], w - step - decay,
                step_error + slack * std::abs(decay) + u * std::abs(w - step - decay))
        << i;
  }
}

TEST(AdamW, FollowsTheAlgorithm) {
  for (const std::int64_t n : {1, 3, 4, 7, 1001}) {
    for (const std::int64_t step : {1, 2, 1000}) {
      for (const double scale : {1.0, 0.25}) {
        State state(n);
        const State before = state;
        AdamWArgs args = state.args();
        args.step = step;
        args.grad_scale = scale;
        adamw(args, {});
        expect_step(before, state, args);
        for (std::size_t i = 0; i < state.compute.size(); ++i)
          ASSERT_EQ(state.compute[i].bits, to_bf16(state.master[i]).bits);
      }
    }
  }
}

TEST(AdamW, LongRunsKeepTheirBiasCorrection) {
  State state(64);
  for (std::size_t i = 0; i < 64; ++i) state.moment1[i] = state.moment2[i] = 0;
  for (std::int64_t step = 1; step <= 30; ++step) {
    const State before = state;
    AdamWArgs args = state.args();
    args.step = step;
    adamw(args, {});
    expect_step(before, state, args);
  }
}

TEST(AdamW, NeedsNoCopy) {
  State state(9);
  const State before = state;
  AdamWArgs args = state.args();
  args.compute = nullptr;
  adamw(args, {});
  for (const bf16 x : state.compute) EXPECT_EQ(x.bits, 0);
  expect_step(before, state, args);
}

TEST(AdamW, ThreadsAndPlaceLeaveNoTrace) {
  State one(40003), three = one, shifted(40002);
  for (std::size_t i = 0; i < 40002; ++i) {
    shifted.master[i] = one.master[i + 1];
    shifted.grad[i] = one.grad[i + 1];
    shifted.moment1[i] = one.moment1[i + 1];
    shifted.moment2[i] = one.moment2[i + 1];
  }
  adamw(one.args(), {});
  adamw(three.args(), thread_team(3));
  adamw(shifted.args(), {});
  expect_same_bits(three.master, one.master, "threads");
  expect_same_bits(three.moment2, one.moment2, "threads");
  expect_same_bits(shifted.master, Floats(one.master.begin() + 1, one.master.end()), "place");
}

TEST(AdamW, ZeroStateStaysStill) {
  State state(5);
  for (Floats* x : {&state.grad, &state.moment1, &state.moment2}) x->assign(5, 0.0f);
  const State before = state;
  AdamWArgs args = state.args();
  args.weight_decay = 0;
  adamw(args, {});
  expect_same_bits(state.master, before.master, "master");
}

TEST(SumOfSquares, IsExactOnIntegersAndTheSameForAnyTeam) {
  for (const std::int64_t n : {0, 1, 7, 8, 16384, 16385, 100003}) {
    Floats x(static_cast<std::size_t>(n));
    double expected = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(static_cast<int>(i % 1001) - 500);
      expected += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    EXPECT_EQ(sum_of_squares(x.data(), n, {}), expected) << n;
    const Floats y = random_floats(n, 4);
    const double sum = sum_of_squares(y.data(), n, {});
    for (const int size : {2, 3}) EXPECT_EQ(sum_of_squares(y.data(), n, thread_team(size)), sum) << n;
  }
  const Floats large(3, 3e38f);
  EXPECT_DOUBLE_EQ(sum_of_squares(large.data(), 3, {}), 3 * std::pow(static_cast<double>(3e38f), 2));
}

}  // namespace
}  // namespace grpo::kernels
