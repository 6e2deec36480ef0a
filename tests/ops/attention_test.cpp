// Attention over packed sequences against a composite of LibTorch operations in double, and its bit-for-bit
// invariances.
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
const AttentionHeads kHeads{.query = 4, .kv = 2, .size = 32, .scale = 0.17677669529663687};

struct Qkv {
  at::Tensor q, k, v;
  at::Tensor operator()(const std::vector<PackedSequence>& sequences) const {
    return attention(q, k, v, sequences, kHeads);
  }
};

Qkv random_qkv(std::int64_t rows, at::ScalarType type, int seed) {
  return {leaf(random_tensor({rows, kHeads.query * kHeads.size}, seed, type)),
          leaf(random_tensor({rows, kHeads.kv * kHeads.size}, seed + 1, type)),
          leaf(random_tensor({rows, kHeads.kv * kHeads.size}, seed + 2, type))};
}

// Rows of a sequence's whole history: its prefix's, then its own.
at::Tensor history(const std::vector<PackedSequence>& sequences, std::size_t i) {
  const PackedSequence& s = sequences[i];
  at::Tensor rows = at::arange(s.begin, s.end, at::kLong);
  if (s.prefix < 0) return rows;
  const PackedSequence& p = sequences[static_cast<std::size_t>(s.prefix)];
  return at::cat({at::arange(p.begin, p.end, at::kLong), rows});
}

// One sequence's terms, all [heads, rows, positions] or [heads, rows, size]; kv heads repeated.
struct Terms {
  at::Tensor q, k, v, scores, p, out;
};

at::Tensor by_head(const at::Tensor& x, std::int64_t heads) {
  return x.view({x.size(0), heads, kHeads.size}).transpose(0, 1);
}

Terms terms(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t repeat = kHeads.query / kHeads.kv, start = k.size(0) - q.size(0);
  Terms t;
  t.q = by_head(q, kHeads.query);
  t.k = by_head(k, kHeads.kv).repeat_interleave(repeat, 0);
  t.v = by_head(v, kHeads.kv).repeat_interleave(repeat, 0);
  const double scale = static_cast<double>(static_cast<float>(kHeads.scale));
  const at::Tensor hidden = at::ones({q.size(0), k.size(0)}, at::kBool).triu(start + 1);
  t.scores = (scale * at::matmul(t.q, t.k.transpose(1, 2))).masked_fill(hidden, -INFINITY);
  t.p = t.scores.softmax(2);
  t.out = at::matmul(t.p, t.v);
  return t;
}

at::Tensor flat(const at::Tensor& by_head) {
  return by_head.transpose(0, 1).reshape({by_head.size(1), by_head.size(0) * by_head.size(2)});
}

at::Tensor reference(const Qkv& x, const std::vector<PackedSequence>& sequences) {
  std::vector<at::Tensor> outs;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const at::Tensor rows = history(sequences, i);
    const at::Tensor q = x.q.slice(0, sequences[i].begin, sequences[i].end);
    outs.push_back(flat(terms(q, x.k.index_select(0, rows), x.v.index_select(0, rows)).out));
  }
  return at::cat(outs);
}

struct Bounds {
  at::Tensor out, dq, dk, dv;
};

// With d the worst error of a row's scores ((E + 2) u32 of the magnitudes), a probability is within
// e = 2 d + (2 n + 16) u32 relatively (n positions; exp, sums and rescaling of blocks). Everything else adds the errors
// of its factors and one u32 per step of its own chain, and one rounding u of the result to its type.
//   out = sum p v             dv = sum p dout         dp = dout v
//   ds = p (dp - D), D = dout out (out as rounded)    dq = scale sum ds k         dk = scale sum ds q
Bounds bounds(const Qkv& x, const at::Tensor& dout, const std::vector<PackedSequence>& sequences, double u) {
  const at::NoGradGuard no_grad;
  Bounds b{{}, at::zeros_like(x.q), at::zeros_like(x.k), at::zeros_like(x.v)};
  std::vector<at::Tensor> outs;
  const double chain = (kHeads.size + 2) * u32, scale = kHeads.scale;
  const std::int64_t repeat = kHeads.query / kHeads.kv;
  const auto to_kv = [&](const at::Tensor& t) {  // [heads, n, size] -> [n, kv * size]
    return flat(t.view({kHeads.kv, repeat, t.size(1), t.size(2)}).sum(1));
  };
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].begin == sequences[i].end) continue;
    const at::Tensor rows = history(sequences, i);
    const double n = static_cast<double>(rows.numel()), m = static_cast<double>(x.q.size(0));
    const at::Tensor g = by_head(dout.slice(0, sequences[i].begin, sequences[i].end), kHeads.query).abs();
    const Terms t =
        terms(x.q.slice(0, sequences[i].begin, sequences[i].end), x.k.index_select(0, rows), x.v.index_select(0, rows));
    const at::Tensor q = t.q.abs(), k = t.k.abs(), v = t.v.abs();
    const at::Tensor d = (chain * scale * at::matmul(q, k.transpose(1, 2))).amax(2, true);
    const at::Tensor e = 2 * d + (2 * n + 16) * u32;
    const at::Tensor out_error = e * at::matmul(t.p, v) + u * t.out.abs();
    const at::Tensor gv = at::matmul(g, v.transpose(1, 2)), big_d = (g * t.out.abs()).sum(2, true);
    const at::Tensor d_error = (g * out_error).sum(2, true) + chain * big_d;
    const at::Tensor ds = t.p * (gv + big_d), ds_error = t.p * (e * (gv + big_d) + chain * gv + d_error) + 4 * u32 * ds;
    const at::Tensor ds_total = ds_error + (n + 4) * u32 * ds;
    outs.push_back(flat(out_error));
    b.dq.slice(0, sequences[i].begin, sequences[i].end) += flat(scale * at::matmul(ds_total, k));
    const at::Tensor over_rows = ds_error + (m + 4) * u32 * ds;
    b.dk.index_add_(0, rows, to_kv(scale * at::matmul(over_rows.transpose(1, 2), q)));
    b.dv.index_add_(0, rows, to_kv(at::matmul(((e + (m + 4) * u32) * t.p).transpose(1, 2), g)));
  }
  b.out = at::cat(outs);
  return b;
}

// A lone sequence, a prompt of one block and a half with three answers (one empty), a prompt of whole blocks with two,
// a row.
const std::vector<PackedSequence> kBatch{{0, 40, -1},    {40, 88, -1},  {88, 93, 1},   {93, 93, 1},   {93, 133, 1},
                                         {133, 165, -1}, {165, 166, 5}, {166, 200, 5}, {200, 201, -1}};

class Attention : public OpsTest, public ::testing::WithParamInterface<DType> {
 protected:
  at::ScalarType type() const { return scalar_type(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Types, Attention, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& param) { return param.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_P(Attention, ForwardAndGradientsWithSharedPrefixes) {
  const Qkv x = random_qkv(201, type(), 1);
  const at::Tensor dout = random_tensor(x.q.sizes(), 4, type()), out = x(kBatch);
  out.backward(dout);
  const Qkv x64{leaf64(x.q), leaf64(x.k), leaf64(x.v)};
  const at::Tensor want = reference(x64, kBatch);
  want.backward(dout.to(at::kDouble));
  const double u = unit_roundoff(type());
  const Bounds b = bounds(x64, dout.to(at::kDouble), kBatch, u);
  EXPECT_TRUE(within(out, want, b.out));
  EXPECT_TRUE(within(x.q.grad(), x64.q.grad(), b.dq + u * x64.q.grad().abs()));
  EXPECT_TRUE(within(x.k.grad(), x64.k.grad(), b.dk + u * x64.k.grad().abs()));
  EXPECT_TRUE(within(x.v.grad(), x64.v.grad(), b.dv + u * x64.v.grad().abs()));
}

TEST_P(Attention, ARowsBitsDependOnItsHistoryOnly) {
  const at::NoGradGuard no_grad;
  const Qkv x = random_qkv(201, type(), 1);
  set_threads(1);
  const at::Tensor together = x(kBatch);
  set_threads(2);
  EXPECT_TRUE(bit_equal(x(kBatch), together)) << "two threads";
  for (const char* isa : {"scalar", "avx2", "avx512", "avx512bf16", "amx"}) {
    try {
      force_isa(isa);
    } catch (const Error&) {
      continue;  // not on this CPU
    }
    EXPECT_TRUE(bit_equal(x(kBatch), together)) << isa;
  }
  force_isa("");
  for (std::size_t i = 0; i < kBatch.size(); ++i) {  // alone and without sharing: the whole history as one sequence
    const at::Tensor rows = history(kBatch, i);
    const Qkv own{x.q.index_select(0, rows), x.k.index_select(0, rows), x.v.index_select(0, rows)};
    const std::int64_t count = kBatch[i].end - kBatch[i].begin;
    const at::Tensor alone = own({{0, rows.numel(), -1}});
    EXPECT_TRUE(bit_equal(alone.slice(0, rows.numel() - count), together.slice(0, kBatch[i].begin, kBatch[i].end)))
        << "sequence " << i;
  }
}

TEST_P(Attention, DecodingEqualsTraining) {
  const at::NoGradGuard no_grad;
  const Qkv x = random_qkv(88, type(), 1);
  const at::Tensor training = x({{0, 48, -1}, {48, 88, 0}});
  // The prompt is prefilled in two parts, forked after 48 positions, and continued one row at a time.
  at::Tensor store = at::full({6 * kv_block_elements(kHeads)}, NAN, type());
  const std::vector<std::int32_t> prompt{4, 1}, answer{4, 2, 0};
  std::vector<at::Tensor> outs;
  const auto append = [&](std::int64_t begin, std::int64_t end, const std::vector<std::int32_t>& blocks) {
    outs.push_back(attention_cached(x.q.slice(0, begin, end), x.k.slice(0, begin, end), x.v.slice(0, begin, end),
                                    {{0, end - begin, begin, blocks.data()}}, kHeads, store));
  };
  append(0, 37, prompt);
  append(37, 48, prompt);
  copy_kv_block(store, kHeads, prompt[1], answer[1], 16);
  for (std::int64_t row = 48; row < 88; ++row) append(row, row + 1, answer);
  EXPECT_TRUE(bit_equal(at::cat(outs), training));
}

TEST(AttentionDifferences, WithSharedPrefixes) {
  const std::vector<PackedSequence> batch{{0, 35, -1}, {35, 38, 0}, {38, 43, 0}};
  const Qkv x{random_tensor({43, 128}, 1, at::kFloat, 0.5).set_requires_grad(true),
              random_tensor({43, 64}, 2, at::kFloat, 0.5).set_requires_grad(true), leaf(random_tensor({43, 64}, 3))};
  const at::Tensor mix = random_tensor({43, 128}, 4);
  mix.slice(0, 0, 33).zero_();  // the prompt's end and the answers: fewer terms, less noise
  x(batch).backward(mix);
  const auto value = [&](const std::vector<at::Tensor>& point) {
    return (Qkv{point[0], point[1], point[2]}(batch).to(at::kDouble) * mix).sum().item<double>();
  };
  const std::vector<at::Tensor> point{x.q.detach(), x.k.detach(), x.v.detach()};
  const Qkv x64{point[0].to(at::kDouble), point[1].to(at::kDouble), point[2].to(at::kDouble)};
  const double noise = (bounds(x64, mix.to(at::kDouble), batch, u32).out * mix.abs()).sum().item<double>();
  EXPECT_TRUE(gradcheck(value, point, {x.q.grad(), x.k.grad(), x.v.grad()}, {.step = 1.0 / 16, .noise = noise}));
}

TEST(AttentionEdges, NoRowsAndEmptySequences) {
  const Qkv none = random_qkv(0, at::kFloat, 1);
  EXPECT_EQ(none({}).size(0), 0);
  const at::Tensor out = none({{0, 0, -1}, {0, 0, 0}});
  out.sum().backward();
  EXPECT_EQ(none.k.grad().size(0), 0);
  const Qkv x = random_qkv(3, at::kFloat, 1);  // an empty prompt's continuation stands alone
  EXPECT_TRUE(bit_equal(x({{0, 0, -1}, {0, 3, 0}}), x({{0, 3, -1}})));
}

TEST(AttentionErrors, SayWhatWasExpected) {
  const Qkv x = random_qkv(4, at::kFloat, 1);
  EXPECT_EQ(error_of([&] { x({{0, 3, -1}}); }), "[attention] sequences: expected them to cover 4 rows, got 3");
  EXPECT_EQ(error_of([&] {
              x({{0, 2, -1}, {1, 4, -1}});
            }),
            "[attention] sequences[1]: expected rows from 2 on, at most to 4, got [1, 4)");
  EXPECT_EQ(error_of([&] {
              x({{0, 5, -1}});
            }),
            "[attention] sequences[0]: expected rows from 0 on, at most to 4, got [0, 5)");
  EXPECT_EQ(error_of([&] {
              x({{0, 2, 1}, {2, 4, -1}});
            }),
            "[attention] sequences[0].prefix: expected an earlier sequence that has none itself, got 1");
  EXPECT_EQ(error_of([&] {
              x({{0, 1, -1}, {1, 2, 0}, {2, 4, 1}});
            }),
            "[attention] sequences[2].prefix: expected an earlier sequence that has none itself, got 1");
  EXPECT_EQ(error_of([&] { x({{0, 4, -2}}); }), "[attention] sequences[0].prefix: expected -1 or an index, got -2");
  AttentionHeads heads = kHeads;
  heads.size = 24;
  EXPECT_EQ(error_of([&] {
              attention(x.q, x.k, x.v, {{0, 4, -1}}, heads);
            }),
            "[attention] heads.size: expected a multiple of 16, got 24");
  EXPECT_EQ(error_of([&] {
              attention(x.q, x.q, x.v, {{0, 4, -1}}, kHeads);
            }),
            "[attention] k: expected float32 or bfloat16 [4, 64] on cpu, got float32 [4, 128] on cpu");
}

TEST(AttentionErrors, OfTheCache) {
  const Qkv x = random_qkv(4, at::kFloat, 1);
  at::Tensor store = at::zeros({2 * kv_block_elements(kHeads)});
  const std::vector<std::int32_t> blocks{0, 2};
  const auto run = [&](const CachedSequence& s) { attention_cached(x.q, x.k, x.v, {s}, kHeads, store); };
  EXPECT_NE(error_of([&] { run({0, 4, 0, blocks.data()}); }).find("expected no gradient"), std::string::npos);
  const at::NoGradGuard no_grad;
  EXPECT_EQ(error_of([&] {
              run({0, 4, 30, blocks.data()});
            }),
            "[attention_cached] sequences[0].blocks: expected blocks in [0, 2), got 2");
  EXPECT_EQ(error_of([&] {
              run({0, 4, 0, nullptr});
            }),
            "[attention_cached] sequences[0].blocks: expected a block table, got none");
  EXPECT_EQ(error_of([&] {
              run({0, 4, -1, blocks.data()});
            }),
            "[attention_cached] sequences[0].start: expected 0 or more, got -1");
  store = store.to(at::kBFloat16);
  EXPECT_NE(error_of([&] {
              run({0, 4, 0, blocks.data()});
            }).find("[attention_cached] store: expected the type of q"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { copy_kv_block(store, kHeads, 0, 2, 3); }),
            "[copy_kv_block] from, to: expected two blocks in [0, 2), got 0 and 2");
  EXPECT_EQ(error_of([&] { copy_kv_block(store, kHeads, 0, 1, 33); }),
            "[copy_kv_block] count: expected at most 32 positions, got 33");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
