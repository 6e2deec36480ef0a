// Embedding, linear, RMS norm, rotary positions, SwiGLU and add against composite LibTorch operations in double.
// Bounds: u32 per rounded fp32 step of the longest chain, times the sum of magnitudes that went through it; plus one
// rounding of the result to its own type.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <grpo/ops.h>

#include "support/gradcheck.h"
#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::inline GRPO_ABI {
namespace {

using namespace grpo::testing;

const double u32 = unit_roundoff(at::kFloat);

class Layers : public ::testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  at::ScalarType type() const { return scalar_type(GetParam()); }
  double u_out() const { return unit_roundoff(type()); }
  at::Tensor input(at::IntArrayRef shape, int seed) const { return leaf(random_tensor(shape, seed, type())); }
  at::Tensor rounding(const at::Tensor& want) const { return u_out() * want.abs() + 1e-30; }
};
INSTANTIATE_TEST_SUITE_P(Types, Layers, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& param) { return param.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_P(Layers, LinearAndItsGradients) {
  struct Size {
    std::int64_t rows, in, out;
  };
  for (const auto [rows, in, out] : {Size{1, 1, 1}, Size{5, 33, 19}, Size{70, 64, 48}, Size{0, 8, 4}}) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(in) + " x " + std::to_string(out));
    Parameter weight = random_parameter({out, in}, dtype(), 1), bias = random_parameter({out}, dtype(), 2);
    const at::Tensor x = input({rows, in}, 3), dy = random_tensor({rows, out}, 4, type());
    const at::Tensor y = linear(x, weight, &bias);
    y.backward(dy);

    const at::Tensor x64 = leaf64(x), w64 = computed_values(weight).set_requires_grad(true),
                     b64 = leaf64(get_values(bias));
    const at::Tensor y64 = at::linear(x64, w64, b64);
    y64.backward(dy.to(at::kDouble));
    const at::NoGradGuard no_grad;
    const at::Tensor ax = x64.abs(), aw = w64.abs(), ady = dy.to(at::kDouble).abs();
    EXPECT_TRUE(within(y, y64, (in + 4) * u32 * (at::mm(ax, aw.t()) + b64.abs()) + rounding(y64)));
    EXPECT_TRUE(within(x.grad(), x64.grad(), (out + 4) * u32 * at::mm(ady, aw) + rounding(x64.grad())));
    EXPECT_TRUE(within(get_grad(weight), w64.grad(), (rows + 4) * u32 * at::mm(ady.t(), ax) + 1e-30));
    EXPECT_TRUE(within(get_grad(bias), b64.grad(), (rows + 4) * u32 * ady.sum(0) + 1e-30));
  }
}

TEST_P(Layers, LinearWeightGradientIsInPackedOrderAndAddsUp) {
  Parameter weight = random_parameter({19, 33}, dtype(), 1);
  const at::Tensor x = random_tensor({6, 33}, 2, type()), dy = random_tensor({6, 19}, 3, type());
  const auto run = [&](std::int64_t begin,
                       std::int64_t end) {  // x needs no gradient: the weight alone starts the graph
    linear(x.slice(0, begin, end), weight).backward(dy.slice(0, begin, end).contiguous());
  };
  run(0, 6);
  const at::Tensor whole = weight.grad.clone();
  EXPECT_TRUE(bit_equal(whole, pack_like(weight, get_grad(weight)))) << "the padding stays 0";
  weight.grad.zero_();
  run(0, 4);
  run(4, 6);
  const at::Tensor magnitude =
      pack_like(weight, at::mm(dy.to(at::kDouble).abs().t(), x.to(at::kDouble).abs()).to(at::kFloat));
  EXPECT_TRUE(within(weight.grad, whole, 2 * (6 + 4) * u32 * magnitude + 1e-30)) << "micro-batches add up";
}

TEST_P(Layers, EmbeddingAndItsGradient) {
  Parameter weight = random_parameter({21, 37}, dtype(), 1);
  const at::Tensor ids = int_tensor({20, 0, 3, 3, 20, 3});
  const at::Tensor y = embedding(weight, ids);
  EXPECT_TRUE(bit_equal(y, computed_values(weight).index_select(0, ids).to(type()))) << "a look-up rounds nothing";
  const at::Tensor dy = random_tensor({6, 37}, 2, type());
  y.backward(dy);
  const at::Tensor want = at::zeros({21, 37}, at::kDouble).index_add_(0, ids, dy.to(at::kDouble));
  const at::Tensor magnitude = at::zeros({21, 37}, at::kDouble).index_add_(0, ids, dy.to(at::kDouble).abs());
  EXPECT_TRUE(within(get_grad(weight), want, 6 * u32 * magnitude));
}

// y = x r w with r = (mean(x^2) + eps)^-1/2; dx = r (w dy - x r^2 mean(w dy x)); dw = sum dy x r. The mean is a chain
// of D/16 + 4 steps, halved by the root.
TEST_P(Layers, RmsNormAndItsGradients) {
  for (const std::int64_t width : {16, 37, 576}) {
    SCOPED_TRACE(width);
    const std::int64_t rows = 9;
    Parameter weight = random_parameter({width}, dtype(), 1);
    at::Tensor values = random_tensor({rows, width}, 2, type());
    values[0].mul_(1e-4);
    values[1].zero_();
    values[2].mul_(1e4);
    const at::Tensor x = leaf(values), dy = random_tensor({rows, width}, 3, type());
    const at::Tensor y = rms_norm(x, weight, 1e-5);
    y.backward(dy);

    const at::Tensor x64 = leaf64(x), w64 = get_values(weight).to(type()).to(at::kDouble).set_requires_grad(true);
    const auto eps = static_cast<double>(1e-5f);
    const at::Tensor r64 = (x64.square().mean(1, true) + eps).rsqrt(), y64 = x64 * r64 * w64;
    y64.backward(dy.to(at::kDouble));
    const at::NoGradGuard no_grad;
    const double chain = (static_cast<double>(width) / 16 + 20) * u32;
    const at::Tensor wdy = (w64 * dy.to(at::kDouble)).abs();
    const at::Tensor dx_size = r64 * (wdy + x64.abs() * r64.square() * (wdy * x64.abs()).mean(1, true));
    EXPECT_TRUE(within(y, y64, chain * y64.abs() + rounding(y64)));
    EXPECT_TRUE(
        within(x.grad(), x64.grad(), 4 * (chain + static_cast<double>(width) * u32) * dx_size + rounding(x64.grad())));
    EXPECT_TRUE(within(get_grad(weight), w64.grad(),
                       (chain + (rows + 4) * u32) * (dy.to(at::kDouble) * x64 * r64).abs().sum(0)));
  }
}

at::Tensor rope_table(std::int64_t positions, std::int64_t head) {
  const at::Tensor angle = at::arange(positions, at::kDouble).unsqueeze(1) *
                           at::pow(10000.0, at::arange(head / 2, at::kDouble) * (-2.0 / static_cast<double>(head)));
  return at::stack({angle.cos(), angle.sin()}, 2).to(at::kFloat);
}

TEST_P(Layers, RopeAndItsGradient) {
  const std::int64_t heads = 3, head = 32, rows = 7;
  const at::Tensor table = rope_table(50, head), positions = int_tensor({0, 1, 49, 7, 7, 30, 2});
  const at::Tensor x = input({rows, heads * head}, 1), dy = random_tensor({rows, heads * head}, 2, type());
  const at::Tensor y = rope(x, heads, positions, table);
  y.backward(dy);

  const at::Tensor x64 = leaf64(x);
  const at::Tensor picked = table.to(at::kDouble).index_select(0, positions).unsqueeze(1);
  const at::Tensor cos = picked.select(3, 0), sin = picked.select(3, 1);
  const at::Tensor split = x64.view({rows, heads, 2, head / 2}), a = split.select(2, 0), b = split.select(2, 1);
  const at::Tensor y64 = at::stack({a * cos - b * sin, b * cos + a * sin}, 2).view({rows, heads * head});
  y64.backward(dy.to(at::kDouble));
  const at::NoGradGuard no_grad;
  const auto size = [&](const at::Tensor& t) {  // |first| + |second| bounds each of the two products
    const at::Tensor s = t.to(at::kDouble).abs().view({rows, heads, 2, head / 2}).sum(2, true);
    return s.expand({rows, heads, 2, head / 2}).reshape({rows, heads * head});
  };
  EXPECT_TRUE(within(y, y64, 3 * u32 * size(x) + rounding(y64)));
  EXPECT_TRUE(within(x.grad(), x64.grad(), 3 * u32 * size(dy) + rounding(x64.grad())));
}

// sigma(g) is within 8 u32 (an exp of 2 ulp, a sum, a quotient); 1 - sigma loses at most u32 absolutely.
TEST_P(Layers, SwigluAndItsGradients) {
  at::Tensor values = random_tensor({5, 33}, 1, type(), 3);
  values[0][0] = 80;
  values[0][1] = -80;
  values[0][2] = 0;
  const at::Tensor gate = leaf(values), up = input({5, 33}, 2), dy = random_tensor({5, 33}, 3, type());
  const at::Tensor y = swiglu(gate, up);
  y.backward(dy);
  const at::Tensor gate64 = leaf64(gate), up64 = leaf64(up);
  const at::Tensor y64 = at::silu(gate64) * up64;
  y64.backward(dy.to(at::kDouble));
  const at::NoGradGuard no_grad;
  const at::Tensor sigma = at::sigmoid(gate64), size = (dy.to(at::kDouble) * up64).abs() * sigma * (1 + gate64.abs());
  EXPECT_TRUE(within(y, y64, 12 * u32 * y64.abs() + rounding(y64)));
  EXPECT_TRUE(within(gate.grad(), gate64.grad(), 16 * u32 * size + rounding(gate64.grad())));
  EXPECT_TRUE(within(up.grad(), up64.grad(), 12 * u32 * up64.grad().abs() + rounding(up64.grad())));
}

TEST_P(Layers, AddRoundsOnceAndPassesGradientsOn) {
  const at::Tensor a = input({4, 9}, 1), b = input({4, 9}, 2), dy = random_tensor({4, 9}, 3, type());
  const at::Tensor y = grpo::add(a, b);
  y.backward(dy);
  EXPECT_TRUE(bit_equal(y, (a.to(at::kDouble) + b.to(at::kDouble)).to(type())));
  EXPECT_TRUE(bit_equal(a.grad(), dy));
  EXPECT_TRUE(bit_equal(b.grad(), dy));
}

TEST(LayersDifferences, RmsNorm) {
  Parameter weight = random_parameter({24}, DType::Float32, 1);
  const at::Tensor x = leaf(random_tensor({3, 24}, 2)), w = get_values(weight), mix = random_tensor({3, 24}, 3);
  rms_norm(x, weight, 1e-5).backward(mix);
  const at::Tensor dweight = get_grad(weight);
  const auto value = [&](const std::vector<at::Tensor>& point) {
    set_values(weight, point[1]);
    return (rms_norm(point[0], weight, 1e-5).to(at::kDouble) * mix).sum().item<double>();
  };
  const double size = (rms_norm(x.detach(), weight, 1e-5) * mix).abs().sum().item<double>();
  EXPECT_TRUE(gradcheck(value, {x.detach(), w}, {x.grad(), dweight}, {.noise = 20 * u32 * size}));
}

TEST(LayersContiguity, StridedInputsKeepTheirGradient) {
  const at::Tensor x = leaf(random_tensor({5, 4}, 1));
  Parameter weight = random_parameter({3, 5}, DType::Float32, 2);
  const at::Tensor y = linear(x.t(), weight);
  y.sum().backward();  // an expanded gradient
  EXPECT_TRUE(
      within(x.grad(), get_values(weight).sum(0).unsqueeze(1).expand({5, 4}), at::scalar_tensor(1e-5, at::kDouble)));
}

TEST(LayersFrozen, NothingIsAddedToFrozenWeights) {
  Parameter norm = random_parameter({16}, DType::Float32, 1, 1, false),
            weight = random_parameter({8, 16}, DType::Float32, 2, 1, false);
  const at::Tensor x = random_tensor({3, 16}, 3);
  EXPECT_FALSE(linear(rms_norm(x, norm, 1e-5), weight).requires_grad());
  const at::Tensor tracked = leaf(x);
  linear(rms_norm(tracked, norm, 1e-5), weight).sum().backward();
  EXPECT_TRUE(tracked.grad().defined());
  EXPECT_FALSE(norm.grad.defined() || weight.grad.defined());
}

TEST(LayersErrors, SayWhatWasExpected) {
  Parameter weight = random_parameter({8, 16}, DType::Float32, 1), vector = random_parameter({16}, DType::Float32, 2);
  Parameter half = random_parameter({8, 16}, DType::BFloat16, 3);
  const at::Tensor x = random_tensor({3, 16}, 4), table = rope_table(4, 16), positions = int_tensor({0, 1, 2});
  EXPECT_EQ(error_of([&] { linear(x.to(at::kDouble), weight); }),
            "[linear] x: expected float32 or bfloat16 [any, any] on cpu, got float64 [3, 16] on cpu");
  EXPECT_EQ(error_of([&] { linear(x.slice(1, 0, 8), weight); }),
            "[linear] weight: expected a parameter [any, 8], got [8, 16]");
  EXPECT_EQ(error_of([&] { linear(x, half); }),
            "[linear] weight: expected the activations' type, float32, got bfloat16");
  EXPECT_EQ(error_of([&] { linear(x, vector); }), "[linear] weight: expected a parameter [any, 16], got [16]");
  EXPECT_EQ(error_of([&] { linear(at::Tensor(), weight); }),
            "[linear] x: expected float32 or bfloat16 [any, any] on cpu, got nothing");
  EXPECT_EQ(error_of([&] {
              embedding(weight, int_tensor({0, 8}));
            }),
            "[embedding] ids[1]: expected an index in [0, 8), got 8");
  EXPECT_EQ(error_of([&] { embedding(weight, int_tensor({-1})); }),
            "[embedding] ids[0]: expected an index in [0, 8), got -1");
  EXPECT_EQ(error_of([&] { embedding(weight, positions.to(at::kLong)); }),
            "[embedding] ids: expected int32 [any] on cpu, got int64 [3] on cpu");
  EXPECT_EQ(error_of([&] { rms_norm(x, weight, 1e-5); }), "[rms_norm] weight: expected a parameter [16], got [8, 16]");
  EXPECT_EQ(error_of([&] { rope(x, 3, positions, table); }),
            "[rope] x: expected heads of an even size, got 16 for 3 heads");
  EXPECT_EQ(error_of([&] {
              rope(x, 1, int_tensor({0, 1, 4}), table);
            }),
            "[rope] positions[2]: expected an index in [0, 4), got 4");
  EXPECT_EQ(error_of([&] { rope(x, 2, positions, table); }),
            "[rope] table: expected float32 [positions, 4, 2] on cpu, got float32 [4, 8, 2] on cpu");
  EXPECT_EQ(error_of([&] { swiglu(x, x.slice(0, 0, 2)); }),
            "[swiglu] up: expected float32 [3, 16] on cpu, got float32 [2, 16] on cpu");
  EXPECT_EQ(error_of([&] { grpo::add(x, x.to(at::kBFloat16)); }),
            "[add] b: expected float32 [3, 16] on cpu, got bfloat16 [3, 16] on cpu");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
