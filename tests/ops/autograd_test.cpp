// record_backward, graphs over parameters, and the bits of a small layer whatever the batch.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include <grpo/ops.h>

#include "ops/linear.h"
#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::inline GRPO_ABI {
namespace {

using namespace grpo::testing;
using Tensors = std::vector<at::Tensor>;

// An operation of a user's own: (a b, a + b).
Tensors product_and_sum(const at::Tensor& a, const at::Tensor& b) {
  Tensors outputs;
  {
    const at::NoGradGuard no_grad;
    outputs = {a * b, a + b};
  }
  record_backward("product_and_sum", {a, b}, outputs, [a, b](const Tensors& grads) -> Tensors {
    at::Tensor da = at::zeros_like(a), db = at::zeros_like(b);
    if (grads[0].defined()) da += grads[0] * b, db += grads[0] * a;
    if (grads[1].defined()) da += grads[1], db += grads[1];
    return {da, db};
  });
  return outputs;
}

TEST(RecordBackward, GivesAUsersOperationItsGradient) {
  const at::Tensor a = leaf(random_tensor({3}, 1)), b = leaf(random_tensor({3}, 2));
  const Tensors out = product_and_sum(a, b);
  (2 * out[0] + 3 * out[1]).sum().backward();
  EXPECT_TRUE(at::allclose(a.grad(), 2 * b + 3));
  EXPECT_TRUE(at::allclose(b.grad(), 2 * a + 3));
}

TEST(RecordBackward, AnUnusedOutputIsUndefinedAndAConstantInputGetsNothing) {
  const at::Tensor a = leaf(random_tensor({3}, 1)), b = random_tensor({3}, 2);
  product_and_sum(a, b)[1].sum().backward();
  EXPECT_TRUE(at::allclose(a.grad(), at::ones({3})));
  EXPECT_FALSE(b.grad().defined());
}

TEST(RecordBackward, RecordsNothingThatNobodyWants) {
  const at::Tensor a = leaf(random_tensor({3}, 1)), b = random_tensor({3}, 2);
  EXPECT_FALSE(product_and_sum(b, b)[0].requires_grad());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(product_and_sum(a, b)[0].requires_grad());
}

TEST(RecordBackward, AGraphIsUsedOnce) {
  const at::Tensor a = leaf(random_tensor({3}, 1));
  const at::Tensor loss = product_and_sum(a, a)[0].sum();
  loss.backward();
  EXPECT_EQ(error_of([&] { loss.backward(); }),
            "[product_and_sum] backward: expected a graph that was not used, got a second backward through it");
}

TEST(RecordBackward, AKeptGraphMayBeUsedAgain) {
  const at::Tensor a = leaf(random_tensor({3}, 1));
  const at::Tensor loss = product_and_sum(a, a)[1].sum();
  loss.backward({}, /*retain_graph=*/true);
  loss.backward();
  EXPECT_TRUE(at::allclose(a.grad(), at::full({3}, 4.0)));
}

TEST(RecordBackward, WrongUsesAreErrors) {
  const at::Tensor a = leaf(random_tensor({3}, 1));
  const auto nothing = [](const Tensors&) { return Tensors{}; };
  EXPECT_EQ(error_of([&] { record_backward("op", {a}, {a * 2}, nothing); }),
            "[record_backward] op: output 0: expected a tensor outside the graph (use at::NoGradGuard), got one that "
            "requires grad");
  const at::Tensor b = random_tensor({3}, 2);
  EXPECT_EQ(error_of([&] {
              record_backward("op", {a, b}, {b}, nothing);
            }),
            "[record_backward] op: output 0: expected a new tensor, got an input");
  EXPECT_NE(error_of([&] { record_backward("op", {a}, {at::zeros({3}, at::kInt)}, nothing); }).find("floating-point"),
            std::string::npos);
  EXPECT_NE(error_of([&] { record_backward("op", {a}, {}, nothing); }).find("at least one output"), std::string::npos);
  EXPECT_NE(error_of([&] { record_backward("op", {a}, {at::zeros({3})}, nullptr); }).find("expected a function"),
            std::string::npos);

  const at::Tensor out = at::zeros({3});
  record_backward("op", {a}, {out}, nothing);
  EXPECT_EQ(error_of([&] { out.sum().backward(); }), "[op] backward: expected 1 gradients, one per input, got 0");
}

TEST(RecordBackward, AnInputChangedInPlaceIsAnError) {
  const at::Tensor a = leaf(random_tensor({3}, 1)), b = random_tensor({3}, 2);
  const at::Tensor loss = product_and_sum(a, b)[0].sum();
  b.add_(1);
  EXPECT_EQ(error_of([&] { loss.backward(); }),
            "[product_and_sum] backward: an input was modified in place after the operation");
}

TEST(RecordBackward, GradientsOfGradientsAreRefused) {
  const at::Tensor a = leaf(random_tensor({3}, 1));
  const at::Tensor loss = product_and_sum(a, a)[0].sum();
  EXPECT_EQ(error_of([&] { loss.backward({}, /*retain_graph=*/true, /*create_graph=*/true); }),
            "[product_and_sum] backward: gradients of gradients are not supported");
}

TEST(RecordBackward, DeepGraphsComeApart) {
  at::Tensor x = leaf(random_tensor({2}, 1));
  for (int i = 0; i < 100000; ++i) x = product_and_sum(x, at::zeros({2}))[1];
}

TEST(Recomputed, IsTheFunctionAndItsGradient) {
  Parameter weight = random_parameter({48, 48}, DType::Float32, 1);
  const at::Tensor x = random_tensor({5, 48}, 2);
  int calls = 0;
  const auto f = [&](const at::Tensor& in) {
    ++calls;
    return grpo::add(in, linear(in, weight));
  };
  const at::Tensor plain = leaf(x), again = leaf(x);
  const at::Tensor y = f(plain);
  (y * y).sum().backward();
  const at::Tensor weight_grad = weight.grad.clone();
  weight.grad.zero_();
  calls = 0;
  const at::Tensor same = recomputed(again, f);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(bit_equal(same, y));
  (same * same).sum().backward();
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(bit_equal(again.grad(), plain.grad()));
  EXPECT_TRUE(bit_equal(weight.grad, weight_grad));
}

TEST(Recomputed, IsPlainWhereNobodyWantsTheGradientOfItsInput) {
  Parameter weight = random_parameter({48, 48}, DType::Float32, 1);
  int calls = 0;
  const auto f = [&](const at::Tensor& in) {
    ++calls;
    return linear(in, weight);
  };
  recomputed(random_tensor({5, 48}, 2), f).sum().backward();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(weight.grad.defined());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(recomputed(leaf(random_tensor({5, 48}, 2)), f).requires_grad());
  EXPECT_EQ(calls, 2);
}

TEST(Recomputed, ErrorsOfTheSecondComputationComeOut) {
  const at::Tensor x = leaf(random_tensor({3}, 1));
  bool is_broken = false;
  const auto f = [&](const at::Tensor& in) {
    GRPO_CHECK(!is_broken, "broken");
    return in * 2;
  };
  const at::Tensor loss = recomputed(x, f).sum();
  is_broken = true;
  EXPECT_EQ(error_of([&] { loss.backward(); }), "broken");
  EXPECT_NE(error_of([&] { recomputed(x, nullptr); }).find("expected a function"), std::string::npos);
}

// Two products with one input.
TEST(LinearAgain, MakesItsInputOnceAndKeepsItNoLongerThanItsUsers) {
  Parameter a = random_parameter({32, 16}, DType::Float32, 1), b = random_parameter({48, 16}, DType::Float32, 2);
  const at::Tensor values = random_tensor({5, 16}, 3);
  const auto backward = [&](const at::Tensor& x, const ops::Again& again) {
    (ops::linear(x, again, a, nullptr).sum() + ops::linear(x, again, b, nullptr).square().sum()).backward();
    return std::vector<at::Tensor>{x.grad(), std::exchange(a.grad, {}), std::exchange(b.grad, {})};
  };
  const std::vector<at::Tensor> kept = backward(leaf(values), nullptr);
  int times = 0;
  at::Tensor made;
  ops::Again again = ops::once([&] {
    ++times;
    return made = values.clone();
  });
  const std::vector<at::Tensor> remade = backward(leaf(values), std::exchange(again, nullptr));
  EXPECT_EQ(times, 1);
  EXPECT_EQ(made.use_count(), 1);
  for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(bit_equal(remade[i], kept[i])) << i;
  EXPECT_TRUE(kept[1].ne(0).any().item<bool>());
}

// ---- a decoder layer's operations, row by row
// ------------------------------------------------------------------------

struct Layer {
  Parameter embed, norm, up, gate, down;
  explicit Layer(DType dtype)
      : embed(random_parameter({50, 48}, dtype, 1)),
        norm(random_parameter({48}, dtype, 2)),
        up(random_parameter({72, 48}, dtype, 3, 0.2)),
        gate(random_parameter({72, 48}, dtype, 4, 0.2)),
        down(random_parameter({48, 72}, dtype, 5, 0.2)) {}

  at::Tensor operator()(const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& table) {
    const at::Tensor x = rope(embedding(embed, ids), 3, positions, table), h = rms_norm(x, norm, 1e-5);
    return grpo::add(x, linear(swiglu(linear(h, gate), linear(h, up)), down));
  }
};

class LayerBits : public OpsTest, public ::testing::WithParamInterface<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, LayerBits, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& param) { return param.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_P(LayerBits, DependOnNoNeighbourThreadOrInstructionSet) {
  const at::NoGradGuard no_grad;
  Layer layer(GetParam());
  const std::int64_t rows = 101;
  const at::Tensor ids = (at::arange(rows, at::kInt) * 7 % 50).to(at::kInt),
                   positions = (at::arange(rows, at::kInt) % 13).to(at::kInt);
  const at::Tensor angle = random_tensor({13, 8}, 6), table = at::stack({angle.cos(), angle.sin()}, 2);
  set_threads(1);
  const at::Tensor whole = layer(ids, positions, table);
  const at::Tensor head = logits(whole, layer.embed);
  set_threads(2);
  EXPECT_TRUE(bit_equal(layer(ids, positions, table), whole));
  for (const char* isa : {"scalar", "avx2", "avx512", "avx512bf16", "amx"}) {
    try {
      force_isa(isa);
    } catch (const Error&) {
      continue;  // not on this CPU
    }
    EXPECT_TRUE(bit_equal(layer(ids, positions, table), whole)) << isa;
    EXPECT_TRUE(bit_equal(logits(whole, layer.embed), head)) << isa;
  }
  force_isa("");
  for (const std::int64_t size : {1, 2, 16, 33}) {
    for (std::int64_t begin = 0; begin < rows; begin += size) {
      const std::int64_t end = std::min(begin + size, rows);
      const at::Tensor part = layer(ids.slice(0, begin, end), positions.slice(0, begin, end), table);
      ASSERT_TRUE(bit_equal(part, whole.slice(0, begin, end))) << "rows " << begin << " to " << end;
      ASSERT_TRUE(bit_equal(logits(part, layer.embed), head.slice(0, begin, end))) << "rows " << begin << " to " << end;
    }
  }
}

TEST_P(LayerBits, GradientsDoNotDependOnThreads) {
  Layer layer(GetParam());
  const std::int64_t rows = 101;
  const at::Tensor ids = (at::arange(rows, at::kInt) * 7 % 50).to(at::kInt),
                   positions = (at::arange(rows, at::kInt) % 13).to(at::kInt);
  const at::Tensor angle = random_tensor({13, 8}, 6), table = at::stack({angle.cos(), angle.sin()}, 2);
  const std::vector<Parameter*> parameters{&layer.embed, &layer.norm, &layer.up, &layer.gate, &layer.down};
  std::vector<at::Tensor> one;
  for (const int threads : {1, 2}) {
    set_threads(threads);
    const at::Tensor y = layer(ids, positions, table);
    token_logprobs(y, at::arange(rows, at::kInt), ids, layer.embed).logprobs.sum().backward();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (threads == 1) {
        one.push_back(parameters[i]->grad.clone());
        EXPECT_GT(one[i].abs().sum().item<double>(), 0);
      } else {
        EXPECT_TRUE(bit_equal(parameters[i]->grad, one[i])) << i;
      }
      parameters[i]->grad.zero_();
    }
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
