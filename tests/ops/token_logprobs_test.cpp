// Head, log-softmax and gather against a composite of LibTorch operations in double; agreement with the sampler;
// memory.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include <grpo/ops.h>

#include "ops/pool.h"
#include "support/gradcheck.h"
#include "support/process.h"
#include "support/tensor_bytes.h"
#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::inline GRPO_ABI {
namespace {

using namespace grpo::testing;

const double u32 = unit_roundoff(at::kFloat);

struct Case {
  at::Tensor hidden, rows, targets;
  Parameter head;
};

// Rows repeat, come out of order and leave some out; targets include both ends of the vocabulary.
Case make_case(std::int64_t vocab, DType dtype, std::int64_t width = 24) {
  const auto last = static_cast<std::int32_t>(vocab - 1);
  return {leaf(random_tensor({7, width}, 1, scalar_type(dtype))), int_tensor({3, 0, 3, 3, 6, 1, 3, 5}),
          int_tensor({last, 0, last / 2, 1 % (last + 1), last, last / 3, 0, last / 2}),
          random_parameter({vocab, width}, dtype, 2, 0.4)};
}

struct Reference {
  at::Tensor hidden, weight, logprobs, entropy;
  at::Tensor z, log_p;  // [N, V]
};

Reference reference(const Case& c, double temperature) {
  Reference r;
  r.hidden = leaf64(c.hidden);
  r.weight = computed_values(c.head).set_requires_grad(true);
  r.z = at::mm(r.hidden.index_select(0, c.rows), r.weight.t()) / temperature;
  r.log_p = r.z.log_softmax(1);
  r.logprobs = r.log_p.gather(1, c.targets.to(at::kLong).unsqueeze(1)).squeeze(1);
  r.entropy = -(r.log_p.exp() * r.log_p).sum(1);
  return r;
}

struct Bounds {
  at::Tensor logprobs, entropy, dhidden, dweight;
};

// With d the worst error of a row's z ((D + 4) u32 of the magnitudes), log-probs are within e = 2 d + 100 u32 (16 lanes
// over chunks of 1024: 64 steps, and exp) and p is within e relatively. Then
//   H = -sum p log p          dl = inv (g_lp (1[target] - p) - g_h p (log p + H))          dx = sum dl w          dw =
//   sum dl x
// add the errors of their factors and u32 per step of their chains, u for the rounding to the result's type; in bf16 dl
// is rounded too.
Bounds bounds(const Case& c, const Reference& r, const at::Tensor& g_lp, const at::Tensor& g_h, double temperature) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = r.hidden.index_select(0, c.rows).abs(), w = r.weight.abs();
  const double inv = 1 / temperature, u = unit_roundoff(c.hidden.scalar_type());
  const double width = static_cast<double>(x.size(1)), vocab = static_cast<double>(w.size(0)),
               n = static_cast<double>(x.size(0));
  const at::Tensor d = ((width + 4) * u32 * inv * at::mm(x, w.t())).amax(1, true), e = 2 * d + 100 * u32;
  const at::Tensor p = r.log_p.exp(), h = r.entropy.unsqueeze(1), surprise = r.log_p.abs();
  const at::Tensor span = (p * (r.z.amax(1, true) - r.z)).sum(1, true);
  const at::Tensor h_error = e * (1 + h + span) + u32 * h;
  const at::Tensor hit = at::zeros_like(p).scatter_(1, c.targets.to(at::kLong).unsqueeze(1), 1.0);
  const at::Tensor a = inv * g_lp.abs().unsqueeze(1), b = inv * g_h.abs().unsqueeze(1);
  const at::Tensor dl = a * (hit + p) + b * p * (surprise + h);
  const at::Tensor dl_error = a * p * e + b * p * (e * (surprise + h) + e + h_error) + 8 * u32 * dl +
                              (c.head.dtype == DType::BFloat16 ? u : 0) * dl;
  Bounds result;
  result.logprobs = e.squeeze(1) + u32 * r.logprobs.abs();
  result.entropy = h_error.squeeze(1);
  result.dhidden = at::zeros_like(r.hidden).index_add_(0, c.rows, at::mm(dl_error + (vocab + n + 4) * u32 * dl, w)) +
                   u * r.hidden.grad().abs() + 1e-30;
  result.dweight = at::mm((dl_error + (n + 4) * u32 * dl).t(), x) + 1e-30;
  return result;
}

class TokenLogprobsOp : public OpsTest, public ::testing::WithParamInterface<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, TokenLogprobsOp, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& param) { return param.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_P(TokenLogprobsOp, ForwardAndGradients) {
  for (const std::int64_t vocab : {1, 20, 1025, 9001}) {  // one entry, below a panel's end, past a chunk, past a slab
    for (const double temperature : {1.0, 0.7}) {
      SCOPED_TRACE(std::to_string(vocab) + " entries at temperature " + std::to_string(temperature));
      Case c = make_case(vocab, GetParam());
      const TokenLogprobs got = token_logprobs(c.hidden, c.rows, c.targets, c.head,
                                               {.temperature = temperature, .entropy = true, .rows_per_chunk = 3});
      const at::Tensor g_lp = random_tensor({8}, 3), g_h = random_tensor({8}, 4);
      ((got.logprobs * g_lp).sum() + (got.entropy * g_h).sum()).backward();
      const double used = 1 / static_cast<double>(static_cast<float>(1 / temperature));
      const Reference want = reference(c, used);
      ((want.logprobs * g_lp).sum() + (want.entropy * g_h).sum()).backward();
      const Bounds b = bounds(c, want, g_lp.to(at::kDouble), g_h.to(at::kDouble), used);
      EXPECT_TRUE(within(got.logprobs, want.logprobs, b.logprobs));
      EXPECT_TRUE(within(got.entropy, want.entropy, b.entropy));
      EXPECT_TRUE(within(c.hidden.grad(), want.hidden.grad(), b.dhidden));
      EXPECT_TRUE(within(get_grad(c.head), want.weight.grad(), b.dweight));
    }
  }
}

TEST_P(TokenLogprobsOp, OnlyOneOfTheOutputsUsed) {
  Case c = make_case(50, GetParam());
  const TokenLogprobsOptions options{.entropy = true};
  token_logprobs(c.hidden, c.rows, c.targets, c.head, options).entropy.sum().backward();
  const at::Tensor by_entropy = c.hidden.grad().clone(), head_by_entropy = c.head.grad.clone();
  c.hidden.mutable_grad().zero_();
  c.head.grad.zero_();
  const TokenLogprobs both = token_logprobs(c.hidden, c.rows, c.targets, c.head, options);
  (both.entropy.sum() + 0 * both.logprobs.sum()).backward();
  EXPECT_TRUE(at::equal(c.hidden.grad(), by_entropy));
  EXPECT_TRUE(at::equal(c.head.grad, head_by_entropy));
}

TEST_P(TokenLogprobsOp, BitsDependOnNoChunkThreadOrNeighbour) {
  const at::NoGradGuard no_grad;
  Case c = make_case(9001, GetParam());
  set_threads(1);
  const TokenLogprobs whole = token_logprobs(c.hidden, c.rows, c.targets, c.head, {.entropy = true});
  set_threads(2);
  for (const std::int64_t rows_per_chunk : {1, 3, 100}) {
    const TokenLogprobs cut =
        token_logprobs(c.hidden, c.rows, c.targets, c.head, {.entropy = true, .rows_per_chunk = rows_per_chunk});
    EXPECT_TRUE(bit_equal(cut.logprobs, whole.logprobs));
    EXPECT_TRUE(bit_equal(cut.entropy, whole.entropy));
  }
  for (std::int64_t n = 0; n < 8; ++n) {
    const at::Tensor row = c.hidden.slice(0, c.rows[n].item<std::int64_t>(), c.rows[n].item<std::int64_t>() + 1);
    const TokenLogprobs alone = token_logprobs(row, int_tensor({0}), c.targets.slice(0, n, n + 1), c.head);
    EXPECT_TRUE(bit_equal(alone.logprobs, whole.logprobs.slice(0, n, n + 1)));
  }
}

TEST_P(TokenLogprobsOp, SamplerAndTrainerAgreeBitForBit) {
  const at::NoGradGuard no_grad;
  Case c = make_case(9001, GetParam());
  const std::vector<double> uniforms{0.1, 0.9, 0.5, 0.99, 0.01, 0.3, 0.7};
  for (const double temperature : {1.0, 0.7, 1.3}) {
    const std::vector<SampledToken> drawn = sample(logits(c.hidden, c.head), uniforms, {.temperature = temperature});
    std::vector<std::int32_t> tokens;
    std::vector<float> sampled;
    for (const SampledToken& t : drawn) {
      tokens.push_back(t.token);
      sampled.push_back(t.logprob);
    }
    const at::Tensor trained =
        token_logprobs(c.hidden, at::arange(7, at::kInt), int_tensor(tokens), c.head, {.temperature = temperature})
            .logprobs;
    EXPECT_TRUE(bit_equal(at::tensor(sampled), trained)) << temperature;
  }
}

TEST_P(TokenLogprobsOp, ATiedHeadAndEmbeddingAddIntoOneGradient) {
  Parameter tied = random_parameter({30, 24}, GetParam(), 1, 0.4);
  const at::Tensor ids = int_tensor({3, 7, 3, 29}), rows = int_tensor({0, 1, 2}), targets = int_tensor({7, 3, 29});
  token_logprobs(embedding(tied, ids), rows, targets, tied).logprobs.sum().backward();
  const at::Tensor both = tied.grad.clone();
  // The parts: through the head alone, and through a look-up in a frozen twin's place.
  tied.grad.zero_();
  const at::Tensor hidden = leaf(embedding(tied, ids));
  token_logprobs(hidden, rows, targets, tied).logprobs.sum().backward();
  const at::Tensor by_head = get_grad(tied);
  const at::Tensor by_look_up = at::zeros({30, 24}).index_add_(0, ids, hidden.grad().to(at::kFloat));
  EXPECT_GT(by_look_up.abs().max().item<double>(), 0.01);
  EXPECT_TRUE(
      within(unpack_like(tied, both), by_head + by_look_up,
             4 * u32 * (by_head.abs() + at::zeros({30, 24}).index_add_(0, ids, hidden.grad().to(at::kFloat).abs()))));
}

TEST(TokenLogprobsDifferences, LogprobsAndEntropy) {
  Case c = make_case(60, DType::Float32);
  const at::Tensor g_lp = random_tensor({8}, 3), g_h = random_tensor({8}, 4), weight = get_values(c.head);
  const TokenLogprobsOptions options{.temperature = 0.7, .entropy = true, .rows_per_chunk = 3};
  const auto value = [&](const std::vector<at::Tensor>& point) {
    set_values(c.head, point[1]);
    const TokenLogprobs r = token_logprobs(point[0], c.rows, c.targets, c.head, options);
    return ((r.logprobs.to(at::kDouble) * g_lp).sum() + (r.entropy.to(at::kDouble) * g_h).sum()).item<double>();
  };
  const TokenLogprobs r = token_logprobs(c.hidden, c.rows, c.targets, c.head, options);
  ((r.logprobs * g_lp).sum() + (r.entropy * g_h).sum()).backward();
  Reference exact = reference(c, 0.7);
  exact.logprobs.sum().backward();
  const Bounds b = bounds(c, exact, g_lp.to(at::kDouble), g_h.to(at::kDouble), 0.7);
  const double noise = ((b.logprobs * g_lp.abs()).sum() + (b.entropy * g_h.abs()).sum()).item<double>();
  const at::Tensor dweight = get_grad(c.head);
  EXPECT_TRUE(
      gradcheck(value, {c.hidden.detach(), weight}, {c.hidden.grad(), dweight}, {.step = 1.0 / 256, .noise = noise}));
}

TEST(TokenLogprobsEdges, ConfidentRowsAndNoTargets) {
  Parameter head = random_parameter({20, 16}, DType::Float32, 1, 30.0);  // logits of hundreds
  const at::Tensor hidden = leaf(random_tensor({4, 16}, 2));
  const TokenLogprobs sure =
      token_logprobs(hidden, int_tensor({0, 1, 2, 3}), int_tensor({0, 1, 2, 3}), head, {.entropy = true});
  (sure.logprobs.sum() + sure.entropy.sum()).backward();
  EXPECT_TRUE(sure.logprobs.isfinite().all().item<bool>() && sure.entropy.isfinite().all().item<bool>());
  EXPECT_TRUE(hidden.grad().isfinite().all().item<bool>());
  const at::Tensor other = leaf(random_tensor({4, 16}, 2)), none = int_tensor({});
  const TokenLogprobs empty = token_logprobs(other, none, none, head, {.entropy = true});
  EXPECT_EQ(empty.logprobs.numel() + empty.entropy.numel(), 0);
  empty.logprobs.sum().backward();
  EXPECT_EQ(other.grad().abs().sum().item<double>(), 0);
}

TEST(TokenLogprobsErrors, SayWhatWasExpected) {
  Case c = make_case(20, DType::Float32);
  const auto run = [&](const at::Tensor& rows, const at::Tensor& targets, const TokenLogprobsOptions& options = {}) {
    return error_of([&] { token_logprobs(c.hidden, rows, targets, c.head, options); });
  };
  EXPECT_EQ(run(int_tensor({7}), int_tensor({0})), "[token_logprobs] rows[0]: expected an index in [0, 7), got 7");
  EXPECT_EQ(run(int_tensor({0, 1}), int_tensor({0, 20})),
            "[token_logprobs] targets[1]: expected an index in [0, 20), got 20");
  EXPECT_EQ(run(int_tensor({0, 1}), int_tensor({0})),
            "[token_logprobs] targets: expected int32 [2] on cpu, got int32 [1] on cpu");
  EXPECT_EQ(run(c.rows, c.targets, {.temperature = 0}),
            "[token_logprobs] temperature: expected more than 0, got 0.000000");
  EXPECT_EQ(run(c.rows, c.targets, {.rows_per_chunk = 0}),
            "[token_logprobs] rows_per_chunk: expected 1 or more, got 0");
  EXPECT_NE(error_of([&] { logits(c.hidden, c.head); }).find("[logits] hidden: expected no gradient"),
            std::string::npos);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

bool reset_peak_rss() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

TEST(TokenLogprobsMemory, AtMost15PercentOfTheNaivePath) {
  const std::int64_t num_tokens = 2048, vocab = 151936, width = 64;
  Parameter head = make_parameter("head", {vocab, width}, DType::Float32, false);
  head.master.normal_();
  const at::Tensor hidden = leaf(random_tensor({num_tokens, width}, 1)), rows = at::arange(num_tokens, at::kInt);
  const at::Tensor targets = (at::arange(num_tokens, at::kInt) * 73).to(at::kInt);
  const double limit =
      0.15 * 2.0 * static_cast<double>(num_tokens * vocab) * sizeof(float);  // logits and their gradient

  ops::trim_pool();
  const bool rss_known = reset_peak_rss();
  const std::int64_t rss_before = status_bytes("VmRSS");
  const auto bytes = std::make_shared<TensorBytes>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
    token_logprobs(hidden, rows, targets, head).logprobs.sum().backward();
  }
  const std::int64_t rss_peak = status_bytes("VmHWM");
  EXPECT_TRUE(hidden.grad().isfinite().all().item<bool>());
  RecordProperty("tensor_bytes", std::to_string(bytes->peak));
  RecordProperty("rss_bytes", std::to_string(rss_peak - rss_before));
  EXPECT_GT(bytes->peak, 0);
  EXPECT_LE(static_cast<double>(bytes->peak), limit);
  if (!rss_known || rss_before == 0 || rss_peak == 0) GTEST_SKIP() << "no peak of resident memory on this system";
  EXPECT_LE(static_cast<double>(rss_peak - rss_before), limit);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
