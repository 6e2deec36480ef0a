// A decoder's layers in one region, and the head with its draw, against the same operations one by one: bit for bit.
#include "ops/decode.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::inline GRPO_ABI {
namespace {

using namespace grpo::testing;

constexpr AttentionHeads kHeads{4, 2, 16, 0.25};
constexpr std::int64_t kWidth = 48, kIntermediate = 72, kPositions = 96;

// Two layers with everything that a family may have, or with as little as possible.
struct Layers {
  std::vector<std::unique_ptr<Parameter>> owned;
  std::vector<ops::DecoderLayer> all;

  Layers(DType dtype, bool full) {
    const auto matrix = [&](std::int64_t out, std::int64_t in) {
      owned.push_back(std::make_unique<Parameter>(random_parameter({out, in}, dtype, seed_++, 0.2)));
      return owned.back().get();
    };
    const auto vector = [&](std::int64_t n) {
      owned.push_back(std::make_unique<Parameter>(random_parameter({n}, dtype, seed_++, 1)));
      return owned.back().get();
    };
    const auto projection = [&](std::int64_t out, std::int64_t in) {
      return ops::Projection{matrix(out, in), full ? vector(out) : nullptr};
    };
    const std::int64_t query = kHeads.query * kHeads.size, kv = kHeads.kv * kHeads.size;
    for (int i = 0; i < 2; ++i) {
      all.push_back({.q = projection(query, kWidth),
                     .k = projection(kv, kWidth),
                     .v = projection(kv, kWidth),
                     .o = projection(kWidth, query),
                     .q_norm = full ? vector(kHeads.size) : nullptr,
                     .k_norm = full ? vector(kHeads.size) : nullptr,
                     .gate = projection(kIntermediate, kWidth),
                     .up = projection(kIntermediate, kWidth),
                     .down = projection(kWidth, kIntermediate),
                     .attention_norm = vector(kWidth),
                     .mlp_norm = vector(kWidth)});
    }
  }

 private:
  int seed_ = 10;
};

at::Tensor apply(const ops::Projection& p, const at::Tensor& x) { return linear(x, *p.weight, p.bias); }
at::Tensor norm_heads(const at::Tensor& x, Parameter* norm) {
  return norm == nullptr ? x : rms_norm(x.view({-1, kHeads.size}), *norm, 1e-5).view(x.sizes());
}

at::Tensor one_by_one(at::Tensor x, const std::vector<ops::DecoderLayer>& layers, const at::Tensor& positions,
                      const at::Tensor& table, const std::vector<CachedSequence>& sequences,
                      std::vector<at::Tensor>& stores) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ops::DecoderLayer& layer = layers[i];
    at::Tensor h = rms_norm(x, *layer.attention_norm, 1e-5);
    const at::Tensor q = rope(norm_heads(apply(layer.q, h), layer.q_norm), kHeads.query, positions, table);
    const at::Tensor k = rope(norm_heads(apply(layer.k, h), layer.k_norm), kHeads.kv, positions, table);
    x = grpo::add(x, apply(layer.o, attention_cached(q, k, apply(layer.v, h), sequences, kHeads, stores[i])));
    h = rms_norm(x, *layer.mlp_norm, 1e-5);
    x = grpo::add(x, apply(layer.down, swiglu(apply(layer.gate, h), apply(layer.up, h))));
  }
  return x;
}

// Sequences of `lengths` new rows after `start` positions, which all share their first block when start reaches it.
struct Batch {
  std::vector<std::vector<std::int32_t>> tables;
  std::vector<CachedSequence> sequences;
  at::Tensor positions;
  std::int64_t rows = 0, blocks = 0;

  Batch(const std::vector<std::int64_t>& lengths, std::int64_t start) {
    std::vector<std::int32_t> at;
    for (const std::int64_t length : lengths) {
      std::vector<std::int32_t>& table = tables.emplace_back();
      for (std::int64_t p = 0; p < start + length; p += kKvBlock)
        table.push_back(p + kKvBlock <= start && tables.size() > 1 ? tables[0][table.size()]
                                                                   : static_cast<std::int32_t>(blocks++));
      sequences.push_back({rows, rows + length, start, nullptr});
      for (std::int64_t i = 0; i < length; ++i) at.push_back(static_cast<std::int32_t>(start + i));
      rows += length;
    }
    for (std::size_t i = 0; i < tables.size(); ++i) sequences[i].blocks = tables[i].data();
    positions = int_tensor(at);
  }
};

class DecoderLayers : public OpsTest, public ::testing::WithParamInterface<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, DecoderLayers, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& param) { return param.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_P(DecoderLayers, GiveTheBitsOfTheirOperations) {
  const at::NoGradGuard no_grad;
  const at::ScalarType type = scalar_type(GetParam());
  const at::Tensor angle = random_tensor({kPositions, kHeads.size / 2}, 1);
  const at::Tensor table = at::stack({angle.cos(), angle.sin()}, 2);
  for (const bool full : {false, true}) {
    const Layers layers(GetParam(), full);
    // One row; few rows, which share out outputs; many, which share out rows; more than a strip of them.
    for (const std::vector<std::int64_t>& lengths :
         {std::vector<std::int64_t>{1}, {1, 1, 1, 1, 1, 1, 1}, {20, 30, 5, 40}, std::vector<std::int64_t>(9, 33)}) {
      for (const std::int64_t start : {0, 40}) {
        const Batch batch(lengths, start);
        const at::Tensor x = random_tensor({batch.rows, kWidth}, 2, type);
        std::vector<at::Tensor> stores;
        for (int i = 0; i < 2; ++i)
          stores.push_back(random_tensor({batch.blocks * kv_block_elements(kHeads)}, 3 + i, type));
        std::vector<at::Tensor> used = {stores[0].clone(), stores[1].clone()};
        set_threads(1);
        const at::Tensor want = one_by_one(x, layers.all, batch.positions, table, batch.sequences, used);
        at::Tensor scratch;
        for (const int threads : {1, 2, 3}) {
          set_threads(threads);
          std::vector<at::Tensor> own = {stores[0].clone(), stores[1].clone()};
          const at::Tensor got = ops::decoder_layers(x, layers.all, batch.positions, table, 1e-5,
                                                     {kHeads, batch.sequences, &own, &scratch});
          EXPECT_TRUE(bit_equal(got, want)) << batch.rows << " rows from " << start << ", " << threads << " threads";
          EXPECT_TRUE(bit_equal(own[0], used[0]) && bit_equal(own[1], used[1])) << "cache";
        }
      }
    }
  }
}

TEST_P(DecoderLayers, TheHeadsDrawIsThatOfItsLogits) {
  const at::NoGradGuard no_grad;
  const Parameter head = random_parameter({9001, kWidth}, GetParam(), 1, 0.4);
  const std::vector<SampleOptions> options = {
      {}, {.temperature = 0}, {.temperature = 0.7}, {.temperature = 1.3, .top_k = 40, .top_p = 0.9, .min_p = 0.01}};
  at::Tensor scratch;
  for (const std::int64_t rows : {1, 5, 70}) {
    const at::Tensor hidden = random_tensor({rows, kWidth}, 2, scalar_type(GetParam()));
    std::vector<double> uniforms;
    for (std::int64_t i = 0; i < rows; ++i) uniforms.push_back(static_cast<double>(i) / static_cast<double>(rows));
    for (const SampleOptions& option : options) {
      const std::vector<SampledToken> want = sample(logits(hidden, head), uniforms, option);
      for (const int threads : {1, 2, 3}) {
        set_threads(threads);
        const std::vector<SampledToken> got = ops::draw_next(hidden, head, uniforms, option, scratch);
        for (std::size_t i = 0; i < want.size(); ++i) {
          EXPECT_EQ(got[i].token, want[i].token);
          EXPECT_EQ(got[i].logprob, want[i].logprob);
        }
      }
    }
  }
}

TEST_P(DecoderLayers, ADrawNamesTheRowWithoutADistribution) {
  const at::NoGradGuard no_grad;
  const Parameter head = random_parameter({100, kWidth}, GetParam(), 1, 0.4);
  at::Tensor hidden = random_tensor({3, kWidth}, 2, scalar_type(GetParam())), scratch;
  hidden[1].fill_(std::numeric_limits<float>::quiet_NaN());
  try {
    ops::draw_next(hidden, head, {0.1, 0.2, 0.3}, {}, scratch);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Guard);
    EXPECT_NE(std::string(error.what()).find("logits[1, 0]: expected a number, got nan"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
