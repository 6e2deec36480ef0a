// Parameters, sampling, AdamW and the gradient norm.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include <grpo/ops.h>

#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::inline GRPO_ABI {
namespace {

using namespace grpo::testing;

const double u32 = unit_roundoff(at::kFloat);

class Parameters : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, Parameters, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& param) { return param.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_P(Parameters, ValuesComeBackInLogicalOrder) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{19, 33}, {16, 32}, {1, 1}, {7}}) {
    Parameter p = make_parameter("p", shape, GetParam(), true);
    const at::Tensor values = random_tensor(shape, 1);
    set_values(p, values);
    EXPECT_TRUE(bit_equal(get_values(p), values));
    EXPECT_TRUE(bit_equal(unpack_like(p, pack_like(p, values)), values));
    EXPECT_TRUE(at::equal(get_grad(p), at::zeros(shape)));
    const bool copied = GetParam() == DType::BFloat16 && shape.size() == 2;
    EXPECT_EQ(p.compute.is_same(p.master), !copied);
    EXPECT_TRUE(at::equal(p.compute, copied ? p.master.to(at::kBFloat16) : p.master));
  }
}

TEST(ParameterErrors, SayWhatWasExpected) {
  Parameter p = make_parameter("layers.0.w", {4, 3}, DType::Float32, false);
  EXPECT_EQ(error_of([&] {
              set_values(p, at::zeros({3, 4}));
            }),
            "[set_values] layers.0.w: expected float32 [4, 3] on cpu, got float32 [3, 4] on cpu");
  EXPECT_EQ(error_of([&] { unpack_like(p, at::zeros({12})); }),
            "[unpack_like] layers.0.w: expected contiguous float32 [48] on cpu, got float32 [12] on cpu");
  EXPECT_EQ(error_of([&] { get_grad(p); }), "[get_grad] layers.0.w: expected a trainable parameter, got a frozen one");
  EXPECT_EQ(error_of([] {
              make_parameter("p", {2, 2, 2}, DType::Float32, false);
            }),
            "[make_parameter] p: expected 1 or 2 dimensions, got 3");
  EXPECT_EQ(error_of([] { make_parameter("p", {0}, DType::Float32, false); }),
            "[make_parameter] p: expected positive dimensions, got 0");
}

// Moments: two products and a sum. The step: root, quotient and five products. Each result is stored once in fp32.
TEST_P(Parameters, AdamWFollowsItsEquations) {
  Parameter p = random_parameter({19, 33}, GetParam(), 1);
  at::Tensor m = at::zeros_like(p.master), v = at::zeros_like(p.master);
  for (std::int64_t t = 1; t <= 4; ++t) {
    const AdamWStep step{.learning_rate = 1e-3, .weight_decay = 0.1, .grad_scale = 0.5, .step = t};
    p.grad = pack_like(p, random_tensor({19, 33}, 10 + static_cast<int>(t)));
    const at::Tensor w64 = p.master.to(at::kDouble), g = step.grad_scale * p.grad.to(at::kDouble);
    const at::Tensor m64 = step.beta1 * m.to(at::kDouble) + (1 - step.beta1) * g;
    const at::Tensor v64 = step.beta2 * v.to(at::kDouble) + (1 - step.beta2) * g * g;
    const auto steps = static_cast<double>(t);
    const at::Tensor m_hat = m64 / (1 - std::pow(step.beta1, steps)), v_hat = v64 / (1 - std::pow(step.beta2, steps));
    const at::Tensor change = step.learning_rate * (m_hat / (v_hat.sqrt() + step.epsilon) + step.weight_decay * w64);
    const at::Tensor m_size = step.beta1 * m.to(at::kDouble).abs() + (1 - step.beta1) * g.abs();
    const at::Tensor change_size =
        step.learning_rate *
        (m_size / (1 - std::pow(step.beta1, steps)) / (v_hat.sqrt() + step.epsilon) + step.weight_decay * w64.abs());
    adamw(p, m, v, step);
    EXPECT_TRUE(within(m, m64, 5 * u32 * m_size + 1e-40));
    EXPECT_TRUE(within(v, v64, 6 * u32 * v64 + 1e-40));
    EXPECT_TRUE(within(p.master, w64 - change, 16 * u32 * change_size + u32 * w64.abs()));
    EXPECT_TRUE(at::equal(p.compute, GetParam() == DType::BFloat16 ? p.master.to(at::kBFloat16) : p.master));
    EXPECT_EQ(p.grad.abs().sum().item<double>(), 0) << "the gradient is used up";
  }
  EXPECT_TRUE(bit_equal(p.master, pack_like(p, get_values(p)))) << "the padding stays 0";
}

TEST(AdamWErrors, SayWhatWasExpected) {
  Parameter p = random_parameter({4}, DType::Float32, 1), frozen = random_parameter({4}, DType::Float32, 1, 1, false);
  at::Tensor m = at::zeros({4}), v = at::zeros({4}), wrong = at::zeros({5});
  EXPECT_EQ(error_of([&] { adamw(frozen, m, v, {}); }),
            "[adamw] weight: expected a trainable parameter, got a frozen one");
  EXPECT_EQ(error_of([&] { adamw(p, m, wrong, {}); }),
            "[adamw] weight: moment2: expected contiguous float32 [4] on cpu, got float32 [5] on cpu");
  EXPECT_EQ(error_of([&] { adamw(p, m, v, {.step = 0}); }), "[adamw] step: expected 1 or more, got 0");
}

TEST(GradNorm, IsOverAllTrainableParameters) {
  Parameter a = random_parameter({19, 33}, DType::Float32, 1), b = random_parameter({7}, DType::Float32, 2);
  Parameter frozen = random_parameter({5}, DType::Float32, 3, 1, false);
  a.grad = pack_like(a, random_tensor({19, 33}, 4));
  b.grad = random_tensor({7}, 5);
  const double want = std::sqrt(a.grad.to(at::kDouble).square().sum().item<double>() +
                                b.grad.to(at::kDouble).square().sum().item<double>());
  set_threads(1);
  const double got = grad_norm({&a, &frozen, &b});
  EXPECT_NEAR(got, want, 640 * std::ldexp(1.0, -53) * want);  // as many sums in double
  set_threads(2);
  EXPECT_EQ(grad_norm({&a, &frozen, &b}), got);
  set_threads(0);
  EXPECT_EQ(grad_norm({}), 0);
}

TEST(GradNorm, NamesTheFirstBadGradient) {
  for (const DType dtype : {DType::Float32, DType::BFloat16}) {
    Parameter a = random_parameter({4}, dtype, 1), b = random_parameter({19, 33}, dtype, 2);
    b.name = "layers.3.mlp.up";
    at::Tensor grad = at::zeros({19, 33});
    grad[17][5] = NAN;
    grad[2][31] = INFINITY;
    b.grad = pack_like(b, grad);
    EXPECT_EQ(error_of(
                  [&] {
                    grad_norm({&a, &b});
                  },
                  ErrorKind::Guard),
              "[grad_norm] expected finite gradients, got layers.3.mlp.up[2, 31] is inf");
  }
}

TEST(Sample, GreedyTakesTheLowestOfEquals) {
  at::Tensor logits = at::zeros({2, 1500});
  logits[0][1200] = logits[0][7] = 3;
  logits[1][1499] = 1;
  const std::vector<SampledToken> drawn = sample(logits, {0.9, 0.0}, {.temperature = 0});
  EXPECT_EQ(drawn[0].token, 7);
  EXPECT_EQ(drawn[1].token, 1499);
}

TEST(Sample, ADrawDependsOnItsRowOnly) {
  const at::Tensor logits = random_tensor({9, 2000}, 1, at::kFloat, 2);
  const std::vector<double> u{0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.999};
  for (const SampleOptions& options :
       {SampleOptions{}, {.temperature = 0.8, .top_k = 50, .top_p = 0.9, .min_p = 0.01}}) {
    set_threads(2);
    const std::vector<SampledToken> together = sample(logits, u, options);
    set_threads(1);
    for (std::size_t i = 0; i < u.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      const SampledToken alone = sample(logits.slice(0, row, row + 1), {u[i]}, options)[0];
      EXPECT_EQ(alone.token, together[i].token);
      EXPECT_EQ(alone.logprob, together[i].logprob);
    }
  }
  set_threads(0);
}

TEST(SampleErrors, OfNumbersAndOptions) {
  at::Tensor logits = at::zeros({2, 5});
  logits[0][0] = -INFINITY;  // probability 0
  EXPECT_NE(sample(logits, {0.0, 0.0}, {})[0].token, 0);
  logits[1][3] = NAN;
  EXPECT_EQ(error_of(
                [&] {
                  sample(logits, {0.5, 0.5}, {});
                },
                ErrorKind::Guard),
            "[sample] logits[1, 3]: expected a number, got nan");
  logits[1][3] = INFINITY;
  EXPECT_EQ(error_of(
                [&] {
                  sample(logits, {0.5, 0.5}, {});
                },
                ErrorKind::Guard),
            "[sample] logits[1, 3]: expected a number, got inf");
  logits[1].fill_(-INFINITY);
  EXPECT_NE(error_of(
                [&] {
                  sample(logits, {0.5, 0.5}, {});
                },
                ErrorKind::Guard)
                .find("got a row of -inf"),
            std::string::npos);
  logits.zero_();
  EXPECT_EQ(error_of([&] {
              sample(logits, {0.5, 1.0}, {});
            }),
            "[sample] uniforms[1]: expected a number in [0, 1), got 1.000000");
  EXPECT_EQ(error_of([&] { sample(logits, {0.5}, {}); }),
            "[sample] logits: expected float32 or bfloat16 [1, any] on cpu, got float32 [2, 5] on cpu");
  for (const SampleOptions& bad : {SampleOptions{.temperature = -1},
                                   {.temperature = NAN},
                                   {.temperature = 1e-60},
                                   {.top_k = -1},
                                   {.top_p = 0},
                                   {.top_p = 1.5},
                                   {.min_p = 1},
                                   {.min_p = -0.1}}) {
    EXPECT_EQ(error_of([&] { sample(logits, {0.5, 0.5}, bad); }).rfind("[sample] ", 0), 0u);
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
