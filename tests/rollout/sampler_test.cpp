#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <grpo/rollout.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/random.h"
#include "support/tensors.h"
#include "support/tiny_run.h"

namespace grpo::testing {
namespace {

using Results = std::vector<std::vector<Completion>>;

// The sampler without a sampler: one answer, the whole sequence anew for every token, no cache.
Completion one_by_one(const CausalLM& model, const SampleRequest& request, int sample_index,
                      const SamplerOptions& options) {
  const at::NoGradGuard no_grad;
  const std::vector<std::int32_t>& eos = model.config().eos_ids;
  Completion completion;
  TokenBatch batch{request.ids, {{}}};
  while (true) {
    const auto length = static_cast<std::int64_t>(batch.tokens.size());
    batch.sequences[0] = {.begin = 0, .end = length};
    const at::Tensor last = model.forward(batch).narrow(0, length - 1, 1);
    const double u =
        uniform(static_cast<std::uint64_t>(request.address.seed), {.stage = request.address.stage,
                                                                   .step = request.address.step,
                                                                   .row = request.address.row,
                                                                   .occurrence = request.address.occurrence,
                                                                   .sample = static_cast<std::uint64_t>(sample_index),
                                                                   .position = completion.ids.size()});
    const SampledToken token =
        sample(logits(last, model.head()), {u}, {options.temperature, options.top_k, options.top_p, options.min_p})[0];
    completion.ids.push_back(token.token);
    completion.logprobs.push_back(token.logprob);
    batch.tokens.push_back(token.token);
    if (!options.ignore_eos && std::count(eos.begin(), eos.end(), token.token) > 0) {
      completion.finish_reason = FinishReason::Stop;
      return completion;
    }
    if (static_cast<std::int64_t>(completion.ids.size()) == options.max_new_tokens ||
        length + 1 == model.config().max_positions)
      return completion;
  }
}

bool equal(const Completion& a, const Completion& b) {
  return a.ids == b.ids && a.logprobs == b.logprobs && a.finish_reason == b.finish_reason;
}

void expect_equal(const Results& a, const Results& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t r = 0; r < a.size(); ++r) {
    ASSERT_EQ(a[r].size(), b[r].size());
    for (std::size_t s = 0; s < a[r].size(); ++s) {
      EXPECT_TRUE(equal(a[r][s], b[r][s])) << "request " << r << ", sample " << s;
      EXPECT_EQ(a[r][s].text, b[r][s].text);
    }
  }
}

// Prompts around the cache's blocks of 32 and more answers than one.
std::vector<SampleRequest> some_requests() {
  std::vector<SampleRequest> requests;
  const std::vector<int> lengths = {5, 1, 31, 32, 33, 64, 70, 5};
  for (std::size_t i = 0; i < lengths.size(); ++i)
    requests.push_back({.ids = random_ids(lengths[i], static_cast<std::uint32_t>(i)),
                        .num_samples = 1 + static_cast<int>(i % 4),
                        .address = {.seed = -3, .stage = kStageTrain, .step = 9, .row = i, .occurrence = i % 2}});
  return requests;
}

// The least budget that these requests can have: one prompt with one answer.
std::int64_t least_budget(const std::vector<SampleRequest>& requests, std::int64_t max_new_tokens) {
  std::int64_t least = 0;
  for (const SampleRequest& request : requests) {
    const auto length = static_cast<std::int64_t>(request.ids.size());
    const std::int64_t prompt = (length + 31) / 32, answer = (length + max_new_tokens + 31) / 32 - length / 32;
    least = std::max(least, 32 * (prompt + answer));
  }
  return least;
}

class Sampling : public OpsTest, public ::testing::WithParamInterface<DType> {
 protected:
  void SetUp() override { set_threads(1); }
  CausalLM model_ = CausalLM::init(tiny_model_config(), 7, {.dtype = GetParam()});
  Tokenizer tokenizer_ = tiny_tokenizer();
  Sampler sampler_{model_, &tokenizer_};
};

TEST_P(Sampling, EqualsOneAnswerAfterAnotherWithoutCache) {
  const std::vector<SampleRequest> requests = some_requests();
  for (const SamplerOptions& options :
       {SamplerOptions{.max_new_tokens = 9}, SamplerOptions{.temperature = 0.6, .max_new_tokens = 40},
        SamplerOptions{.temperature = 1.4, .top_k = 20, .top_p = 0.9, .min_p = 0.01, .max_new_tokens = 9},
        SamplerOptions{.temperature = 0, .max_new_tokens = 9}}) {
    const Results results = sampler_.generate(requests, options);
    for (std::size_t r = 0; r < requests.size(); ++r)
      for (int s = 0; s < requests[r].num_samples; ++s)
        EXPECT_TRUE(equal(results[r][static_cast<std::size_t>(s)], one_by_one(model_, requests[r], s, options)))
            << "request " << r << ", sample " << s << ", temperature " << options.temperature;
  }
}

TEST_P(Sampling, DoesNotDependOnBatchOrderBudgetCountOrThreads) {
  const std::vector<SampleRequest> requests = some_requests();
  SamplerOptions options{.max_new_tokens = 20};
  const Results want = sampler_.generate(requests, options);

  std::vector<SampleRequest> reversed(requests.rbegin(), requests.rend());
  Results got = sampler_.generate(reversed, options);
  std::reverse(got.begin(), got.end());
  expect_equal(got, want);

  std::vector<SampleRequest> more = requests;
  for (SampleRequest& request : more) request.num_samples += 3;
  got = sampler_.generate(more, options);
  for (std::size_t r = 0; r < got.size(); ++r) got[r].resize(want[r].size());
  expect_equal(got, want);

  got.clear();
  for (const SampleRequest& request : requests) got.push_back(sampler_.generate({request}, options)[0]);
  expect_equal(got, want);

  for (const std::int64_t extra : {0, 32, 64, 160, 320}) {
    options.cache_tokens = least_budget(requests, options.max_new_tokens) + extra;
    expect_equal(sampler_.generate(requests, options), want);
  }
  set_threads(2);
  expect_equal(sampler_.generate(requests, options), want);
}

INSTANTIATE_TEST_SUITE_P(Types, Sampling, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& type) { return type.param == DType::Float32 ? "fp32" : "bf16"; });

class SamplerTest : public OpsTest {
 protected:
  void SetUp() override { set_threads(1); }
  static std::vector<SampleRequest> ask(std::vector<std::int32_t> ids, int num_samples) {
    return {{.ids = std::move(ids), .num_samples = num_samples, .address = {.row = 3}}};
  }
  static CausalLM with_eos(std::vector<std::int32_t> eos_ids) {
    ModelConfig config = tiny_model_config();
    config.eos_ids = std::move(eos_ids);
    return CausalLM::init(config, 7, {});
  }
  CausalLM model_ = CausalLM::init(tiny_model_config(), 7, {});
  Tokenizer tokenizer_ = tiny_tokenizer();
  Sampler sampler_{model_, &tokenizer_};
};

// What `progress` says is how many tokens each round drew: two an answer at most (its first, and one more).
TEST_F(SamplerTest, TheBudgetBoundsLiveAnswers) {
  std::vector<SampleRequest> requests = ask(random_ids(40, 1), 6);
  requests.push_back(ask(random_ids(33, 2), 5)[0]);
  std::int64_t before = 0, most = 0, finished = 0, total = 0;
  SamplerOptions options{.max_new_tokens = 12, .ignore_eos = true};
  options.progress = [&](std::int64_t now_finished, std::int64_t now_total, std::int64_t tokens) {
    most = std::max(most, tokens - before);
    before = tokens;
    finished = now_finished;
    total = now_total;
  };
  sampler_.generate(requests, options);
  EXPECT_EQ(most, 22);  // all eleven at once
  EXPECT_EQ(before, 11 * 12);
  EXPECT_EQ(finished, 11);
  EXPECT_EQ(total, 11);
  before = most = 0;
  options.cache_tokens = least_budget(requests, 12);
  sampler_.generate(requests, options);
  EXPECT_EQ(most, 2);  // one at a time
  EXPECT_EQ(before, 11 * 12);
}

TEST_F(SamplerTest, AnyOfTheStopIdsEndsAnAnswer) {
  const std::vector<std::int32_t> eos = {0, 11, 30, 44};  // 44 is beyond the tokenizer
  const CausalLM model = with_eos(eos);
  const Sampler sampler(model, &tokenizer_);
  const std::vector<SampleRequest> requests = ask(random_ids(6, 4), 64);
  SamplerOptions options{.max_new_tokens = 10};
  const Results stopped = sampler.generate(requests, options);
  options.ignore_eos = true;
  const Results whole = sampler.generate(requests, options);
  std::set<std::int32_t> seen;
  for (std::size_t s = 0; s < 64; ++s) {
    const std::vector<std::int32_t>& ids = stopped[0][s].ids;
    const auto first = std::find_first_of(whole[0][s].ids.begin(), whole[0][s].ids.end(), eos.begin(), eos.end());
    const bool stops = first != whole[0][s].ids.end();
    EXPECT_EQ(ids, std::vector<std::int32_t>(whole[0][s].ids.begin(), stops ? first + 1 : first));
    EXPECT_EQ(stopped[0][s].finish_reason, stops ? FinishReason::Stop : FinishReason::Length);
    EXPECT_EQ(whole[0][s].finish_reason, FinishReason::Length);
    EXPECT_EQ(whole[0][s].ids.size(), 10u);
    const std::span<const std::int32_t> kept(ids.data(), ids.size() - (stops ? 1 : 0));
    EXPECT_EQ(stopped[0][s].text, tokenizer_.decode(kept, {.skip_special = true}));
    if (stops) seen.insert(ids.back());
  }
  EXPECT_EQ(seen.size(), eos.size());
}

// Each answer is stopped by a piece of its own text that begins and ends inside it.
TEST_F(SamplerTest, AStopStringCutsTheTextAndKeepsTheIds) {
  const std::vector<SampleRequest> requests = ask(random_ids(6, 4), 24);
  const SamplerOptions free{.max_new_tokens = 16, .ignore_eos = true};
  const Results whole = sampler_.generate(requests, free);
  int split_over_tokens = 0;
  for (std::size_t s = 0; s < 24; ++s) {
    const std::string& text = whole[0][s].text;
    ASSERT_GE(text.size(), 8u);
    SamplerOptions options = free;
    options.stop = {"never in it", text.substr(text.size() / 2, 4)};
    const Completion got = sampler_.generate(requests, options)[0][s];
    const std::size_t at = text.find(options.stop[1]);
    EXPECT_EQ(got.text, text.substr(0, at));
    EXPECT_EQ(got.finish_reason, FinishReason::Stop);
    // As many ids as it takes to write the stop string.
    std::size_t count = 0;
    const auto written = [&](std::size_t n) {
      return tokenizer_.decode(std::span(whole[0][s].ids).first(n), {.skip_special = true}).size();
    };
    while (written(count) < at + 4) ++count;
    EXPECT_EQ(got.ids, std::vector<std::int32_t>(whole[0][s].ids.begin(),
                                                 whole[0][s].ids.begin() + static_cast<std::ptrdiff_t>(count)));
    EXPECT_EQ(got.logprobs.size(), count);
    if (written(count - 1) > at) ++split_over_tokens;
  }
  EXPECT_GT(split_over_tokens, 12);
}

TEST_F(SamplerTest, AnswersEndWithTheContext) {
  const SamplerOptions options{.max_new_tokens = 100, .ignore_eos = true};
  std::vector<SampleRequest> requests = ask(random_ids(120, 1), 2);
  requests.push_back(ask(random_ids(127, 2), 1)[0]);
  requests.push_back(ask(random_ids(10, 2), 1)[0]);
  const Results results = sampler_.generate(requests, options);
  EXPECT_EQ(results[0][0].ids.size(), 8u);  // 128 positions
  EXPECT_EQ(results[0][1].finish_reason, FinishReason::Length);
  EXPECT_EQ(results[1][0].ids.size(), 1u);
  EXPECT_EQ(results[2][0].ids.size(), 100u);
}

TEST_F(SamplerTest, WhatIsCancelledKeepsWhatItHas) {
  std::vector<SampleRequest> requests = ask(random_ids(40, 1), 3);
  requests.push_back(ask(random_ids(40, 2), 3)[0]);
  SamplerOptions options{.max_new_tokens = 12};
  options.cache_tokens = least_budget(requests, 12) + 64;  // three answers at a time
  const Results whole = sampler_.generate(requests, options);
  int rounds = 0;
  options.cancelled = [&] { return rounds++ == 4; };
  const Results got = sampler_.generate(requests, options);
  for (std::size_t s = 0; s < 3; ++s) {
    const Completion &part = got[0][s], &all = whole[0][s];
    const std::size_t count = std::min<std::size_t>(5, all.ids.size());  // one of the prefill, then four
    EXPECT_EQ(part.ids,
              std::vector<std::int32_t>(all.ids.begin(), all.ids.begin() + static_cast<std::ptrdiff_t>(count)));
    EXPECT_EQ(part.finish_reason, count < all.ids.size() ? FinishReason::Cancelled : all.finish_reason);
    EXPECT_EQ(part.text.empty(), part.ids.empty());
    EXPECT_TRUE(got[1][s].ids.empty());
    EXPECT_EQ(got[1][s].finish_reason, FinishReason::Cancelled);
  }
}

TEST_F(SamplerTest, GreedyTakesTheLargestLogit) {
  const std::vector<SampleRequest> requests = ask(random_ids(6, 4), 3);
  const Results results = sampler_.generate(requests, {.temperature = 0, .max_new_tokens = 8, .ignore_eos = true});
  const at::NoGradGuard no_grad;
  TokenBatch batch{requests[0].ids, {{}}};
  for (std::size_t t = 0; t < 8; ++t) {
    const auto length = static_cast<std::int64_t>(batch.tokens.size());
    batch.sequences[0] = {.begin = 0, .end = length};
    const at::Tensor row = logits(model_.forward(batch).narrow(0, length - 1, 1), model_.head());
    const float* values = row.const_data_ptr<float>();
    const auto best = static_cast<std::int32_t>(std::max_element(values, values + 48) - values);
    double sum = 0;
    for (int v = 0; v < 48; ++v) sum += std::exp(static_cast<double>(values[v]) - values[best]);
    for (const Completion& completion : results[0]) {
      ASSERT_EQ(completion.ids[t], best);
      // The raw distribution: log 1/sum, rounded once to float after a sum of 48 floats.
      EXPECT_NEAR(completion.logprobs[t], -std::log(sum), 50 * std::ldexp(1.0, -24) * (1 + std::log(sum)));
    }
    batch.tokens.push_back(best);
  }
}

// Every token is a stop id, so all answers end with their first, and nobody is live when the next ones enter.
TEST_F(SamplerTest, AnswersOfOneTokenDoNotStallIt) {
  std::vector<std::int32_t> all;
  for (std::int32_t id = 0; id < 48; ++id) all.push_back(id);
  const CausalLM model = with_eos(all);
  std::vector<SampleRequest> requests;
  for (std::uint32_t i = 0; i < 9; ++i) requests.push_back(ask(random_ids(20 + 7 * static_cast<int>(i), i), 5)[0]);
  SamplerOptions options{.max_new_tokens = 30};
  for (const std::int64_t budget : {least_budget(requests, 30), std::int64_t{65536}}) {
    options.cache_tokens = budget;
    for (const auto& answers : Sampler(model, &tokenizer_).generate(requests, options))
      for (const Completion& completion : answers) {
        EXPECT_EQ(completion.ids.size(), 1u);
        EXPECT_EQ(completion.finish_reason, FinishReason::Stop);
        EXPECT_EQ(completion.text, "");
      }
  }
}

TEST_F(SamplerTest, IdsThatTheTokenizerLacksWriteNothing) {
  const std::vector<SampleRequest> requests = ask(random_ids(6, 4), 40);
  bool any = false;
  for (const std::vector<std::string>& stop : {std::vector<std::string>{}, std::vector<std::string>{"777"}}) {
    const Results results = sampler_.generate(requests, {.max_new_tokens = 12, .stop = stop, .ignore_eos = true});
    for (const Completion& completion : results[0]) {
      std::vector<std::int32_t> known;
      for (const std::int32_t id : completion.ids)
        if (id < 40) known.push_back(id);
      any = any || known.size() < completion.ids.size();
      EXPECT_EQ(completion.text, tokenizer_.decode(known, {.skip_special = true}));
    }
  }
  EXPECT_TRUE(any);
}

TEST_F(SamplerTest, WorksWithoutATokenizer) {
  const std::vector<SampleRequest> requests = ask(random_ids(6, 4), 3);
  const SamplerOptions options{.max_new_tokens = 12};
  const Results with = sampler_.generate(requests, options),
                without = Sampler(model_, nullptr).generate(requests, options);
  for (std::size_t s = 0; s < 3; ++s) {
    EXPECT_TRUE(equal(with[0][s], without[0][s]));
    EXPECT_EQ(without[0][s].text, "");
  }
  EXPECT_TRUE(sampler_.generate({}, options).empty());
}

TEST_F(SamplerTest, SaysWhatItCannotDo) {
  const std::vector<SampleRequest> good = ask(random_ids(6, 4), 1);
  const auto error = [&](std::vector<SampleRequest> requests, const SamplerOptions& options) {
    return error_of([&] { sampler_.generate(requests, options); });
  };
  std::vector<SampleRequest> bad = {good[0], ask({}, 1)[0]};
  EXPECT_EQ(error(bad, {}), "generate: prompt 1 is empty");
  bad[1] = ask(random_ids(128, 1), 1)[0];
  EXPECT_EQ(error(bad, {}), "generate: prompt 1 has 128 tokens, the model's context 128");
  bad[1] = ask(random_ids(6, 1), 0)[0];
  EXPECT_EQ(error(bad, {}), "generate: prompt 1: expected at least one sample");
  EXPECT_EQ(error(good, {.max_new_tokens = 0}), "generate: expected max_new_tokens >= 1, got 0");
  EXPECT_EQ(error(good, {.stop = {"x", ""}}), "generate: a stop string is empty");
  EXPECT_EQ(error_of([&] { Sampler(model_, nullptr).generate(good, {.stop = {"x"}}); }),
            "generate: stop strings need a tokenizer");
  EXPECT_EQ(
      error(ask(random_ids(40, 1), 1), {.max_new_tokens = 30, .cache_tokens = 127}),
      "generate: prompt 0 with 30 new tokens needs 128 cached tokens, the budget is 127; raise cache_tokens or lower "
      "max_new_tokens");
  EXPECT_NE(error(good, {.temperature = -1}).find("temperature"), std::string::npos);
  EXPECT_NE(error(ask({5, 48}, 1), {}).find("48"), std::string::npos);  // not in the vocabulary
  at::Tensor broken = get_values(model_.head()).clone();
  broken.fill_(std::numeric_limits<float>::quiet_NaN());
  set_values(model_.head(), broken);
  EXPECT_NE(error_of([&] { sampler_.generate(good, {}); }, ErrorKind::Guard).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace grpo::testing
