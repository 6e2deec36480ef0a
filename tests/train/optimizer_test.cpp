#include <grpo/train.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::testing {
namespace {

// Rates of the steps 0 ... n-1.
std::vector<double> rates(const OptimizerSection& config, std::int64_t max_steps, int n) {
  std::vector<double> result;
  for (int step = 0; step < n; ++step) result.push_back(learning_rate_at(config, step, max_steps));
  return result;
}

void expect_rates(const OptimizerSection& config, std::int64_t max_steps, const std::vector<double>& want) {
  const std::vector<double> got = rates(config, max_steps, static_cast<int>(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 8 * std::ldexp(want[i], -53)) << "step " << i;  // a handful of operations in double
}

TEST(LearningRate, HasTheValuesWorkedOutByHand) {
  OptimizerSection config{.learning_rate = 8};
  expect_rates(config, 4, {8, 8, 8, 8, 8});
  config.warmup_steps = 3;
  expect_rates(config, 8, {2, 4, 6, 8, 8});
  config.schedule = Schedule::Linear;
  expect_rates(config, 7, {2, 4, 6, 8, 6, 4, 2, 0, 0});
  config.min_lr_ratio = 0.25;
  expect_rates(config, 7, {2, 4, 6, 8, 6.5, 5, 3.5, 2, 2});
  config = {.learning_rate = 8, .schedule = Schedule::Cosine, .min_lr_ratio = 0.5};
  const double quarter = std::cos(std::numbers::pi / 4);
  expect_rates(config, 4, {8, 4 + 2 * (1 + quarter), 6, 4 + 2 * (1 - quarter), 4, 4});
  config = {.learning_rate = 8, .schedule = Schedule::Step, .warmup_steps = 1, .step_size = 2, .step_gamma = 0.5};
  expect_rates(config, 100, {4, 8, 8, 4, 4, 2, 2, 1});
}

// One weight in double, as the paper has it (Loshchilov and Hutter, algorithm 2) with the clipped gradient.
struct ReferenceAdamW {
  at::Tensor weight, m, v;
  int step = 0;
  void update(const at::Tensor& grad, double rate, const OptimizerSection& c, double decay) {
    ++step;
    m = c.beta1 * m + (1 - c.beta1) * grad;
    v = c.beta2 * v + (1 - c.beta2) * grad * grad;
    const at::Tensor m_hat = m / (1 - std::pow(c.beta1, step)), v_hat = v / (1 - std::pow(c.beta2, step));
    weight = weight - rate * (m_hat / (v_hat.sqrt() + c.epsilon) + decay * weight);
  }
};

class OptimizerTest : public OpsTest {
 protected:
  OptimizerTest() {
    for (int i = 0; i < 3; ++i) {
      const std::vector<std::int64_t> shape =
          i == 2 ? std::vector<std::int64_t>{5} : std::vector<std::int64_t>{7 + i, 20};  // no multiples of panels
      parameters_.push_back(make_parameter("w" + std::to_string(i), shape, DType::Float32, true));
      set_values(parameters_.back(), random_tensor(shape, i));
    }
    config_ = {.learning_rate = 0.02, .schedule = Schedule::Linear, .weight_decay = 0.1, .max_grad_norm = 6};
  }
  std::vector<Parameter*> pointers() {
    std::vector<Parameter*> result;
    for (Parameter& parameter : parameters_) result.push_back(&parameter);
    return result;
  }
  // Adds gradients of step `step`; returns their norm.
  double add_gradients(int step) {
    double squares = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor grad = gradient(i, step);
      squares += (grad.to(at::kDouble) * grad.to(at::kDouble)).sum().item<double>();
      parameters_[i].grad = pack_like(parameters_[i], grad);
    }
    return std::sqrt(squares);
  }
  at::Tensor gradient(std::size_t i, int step) const {
    return random_tensor(parameters_[i].shape, 100 * step + static_cast<int>(i), at::kFloat, step == 2 ? 0.1 : 2);
  }

  std::vector<Parameter> parameters_;
  OptimizerSection config_;
};

TEST_F(OptimizerTest, FollowsAdamWInDoubleWithClipping) {
  std::vector<ReferenceAdamW> references;
  for (const Parameter& parameter : parameters_) {
    const at::Tensor values = get_values(parameter).to(at::kDouble).clone();
    references.push_back({values, at::zeros_like(values), at::zeros_like(values)});
  }
  Optimizer optimizer(pointers(), config_, 10);
  bool clipped = false, unclipped = false;
  for (int step = 0; step < 6; ++step) {
    const double norm = add_gradients(step);
    const double scale = norm > config_.max_grad_norm ? config_.max_grad_norm / norm : 1;
    (scale < 1 ? clipped : unclipped) = true;
    for (std::size_t i = 0; i < references.size(); ++i)
      references[i].update(gradient(i, step).to(at::kDouble) * scale, learning_rate_at(config_, step, 10), config_,
                           i == 2 ? 0 : config_.weight_decay);  // none for vectors
    const Optimizer::Report report = optimizer.step();
    EXPECT_NEAR(report.grad_norm, norm, 1e-12 * norm);  // 325 squares in double
    EXPECT_EQ(report.learning_rate, learning_rate_at(config_, step, 10));
    EXPECT_EQ(optimizer.steps_done(), step + 1);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      // Per step: a dozen roundings on an update of about the rate (here at most 5 of it, where v lags m), and one on
      // the weight itself.
      const double u = unit_roundoff(at::kFloat);
      const at::Tensor bound = (step + 1) * u * (references[i].weight.abs() * 2 + 12 * 5 * config_.learning_rate);
      EXPECT_TRUE(within(get_values(parameters_[i]), references[i].weight, bound)) << "step " << step;
      EXPECT_FALSE(parameters_[i].grad.defined());
    }
  }
  EXPECT_TRUE(clipped && unclipped);
}

TEST_F(OptimizerTest, ANonFiniteGradientChangesNothing) {
  Optimizer optimizer(pointers(), config_, 10);
  add_gradients(0);
  optimizer.step();
  const std::vector<NamedTensor> before = optimizer.state();
  const at::Tensor weight = get_values(parameters_[1]).clone();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor grad = gradient(1, 1);
    grad[3][17] = bad;
    parameters_[1].grad = pack_like(parameters_[1], grad);
    const std::string error = error_of([&] { optimizer.step(); }, ErrorKind::Guard);
    EXPECT_NE(error.find("w1[3, 17]"), std::string::npos) << error;
  }
  EXPECT_EQ(optimizer.steps_done(), 1);
  EXPECT_TRUE(bit_equal(get_values(parameters_[1]), weight));
  const std::vector<NamedTensor> after = optimizer.state();
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(bit_equal(after[i].tensor, before[i].tensor));
}

TEST_F(OptimizerTest, GoesOnFromItsState) {
  Optimizer whole(pointers(), config_, 10);
  add_gradients(0);
  whole.step();
  std::vector<NamedTensor> state;
  for (const NamedTensor& entry : whole.state()) state.push_back({entry.name, entry.tensor.clone()});
  EXPECT_EQ(state.size(), 6u);
  EXPECT_EQ(state[0].name, "moment1.w0");
  EXPECT_EQ(state[3].name, "moment2.w1");
  EXPECT_EQ(state[3].tensor.sizes(), (at::IntArrayRef{8, 20}));
  std::vector<at::Tensor> start, want;
  for (const Parameter& parameter : parameters_) start.push_back(get_values(parameter).clone());
  add_gradients(1);
  whole.step();
  for (std::size_t i = 0; i < 3; ++i) {
    want.push_back(get_values(parameters_[i]).clone());
    set_values(parameters_[i], start[i]);
  }
  Optimizer resumed(pointers(), config_, 10);
  resumed.load_state(state, 1);
  add_gradients(1);
  resumed.step();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(bit_equal(get_values(parameters_[i]), want[i]));
  EXPECT_EQ(resumed.steps_done(), 2);

  std::vector<NamedTensor> bad = state;
  bad[2].name = "moment1.other";
  EXPECT_EQ(error_of([&] { resumed.load_state(bad, 1); }), "optimizer state: tensor 'moment1.w1' is missing");
  bad.pop_back();
  EXPECT_EQ(error_of([&] { resumed.load_state(bad, 1); }), "optimizer state: expected 6 tensors, got 5");
}

}  // namespace
}  // namespace grpo::testing
