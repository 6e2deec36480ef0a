// On policy the trainer's log-prob of every token is the sampler's, to the last bit: whatever was live beside it, in
// whatever order it came, however prompts and answers are packed, cut and threaded.
#include <gtest/gtest.h>

#include <random>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <grpo/model.h>
#include <grpo/ops.h>
#include <grpo/rollout.h>

#include "support/tensors.h"
#include "support/tolerance.h"

namespace grpo::inline GRPO_ABI {
namespace {

using namespace grpo::testing;

constexpr double kTemperature = 0.8;

ModelConfig small_model(const char* family) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 1500;  // past one chunk of the vocabulary
  config.hidden_size = 48;
  config.intermediate_size = 80;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_positions = 512;
  config.tie_embeddings = true;
  config.initializer_range = 0.3;  // far from uniform
  return config;
}

struct Case {
  const char* family;
  DType dtype;
};

class OnPolicy : public OpsTest, public ::testing::WithParamInterface<Case> {
 protected:
  std::vector<SampleRequest> requests() const {
    std::vector<SampleRequest> all;
    for (const int length : {3, 32, 77}) {
      std::mt19937 random(static_cast<unsigned>(length));
      SampleRequest request{.num_samples = 4, .address = {.row = all.size()}};
      for (int i = 0; i < length; ++i) request.ids.push_back(static_cast<std::int32_t>(random() % 1500));
      all.push_back(std::move(request));
    }
    return all;
  }
};

struct Answer {
  std::size_t request;
  const Completion* completion;
};

// Log-probs of the answers' tokens, in order, as one training batch: each prompt once, before its first answer.
std::vector<float> trained(const CausalLM& model, const std::vector<SampleRequest>& requests,
                           const std::vector<Answer>& answers, std::int64_t rows_per_chunk) {
  TokenBatch batch;
  std::vector<std::int32_t> prefix(requests.size(), -1), rows, targets;
  const auto append = [&](const std::vector<std::int32_t>& ids, std::int32_t parent) {
    const auto begin = static_cast<std::int64_t>(batch.tokens.size());
    batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
    batch.sequences.push_back(
        {.begin = begin, .end = static_cast<std::int64_t>(batch.tokens.size()), .prefix = parent});
    return static_cast<std::int32_t>(batch.sequences.size() - 1);
  };
  for (const Answer& answer : answers) {
    std::int32_t& parent = prefix[answer.request];
    if (parent < 0) parent = append(requests[answer.request].ids, -1);
    const std::vector<std::int32_t>& ids = answer.completion->ids;
    auto row = static_cast<std::int32_t>(batch.sequences[static_cast<std::size_t>(parent)].end - 1);
    const auto begin = static_cast<std::int32_t>(batch.tokens.size());
    append(ids, parent);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      rows.push_back(row);
      targets.push_back(ids[i]);
      row = begin + static_cast<std::int32_t>(i);
    }
  }
  const at::Tensor logprobs = token_logprobs(model.forward(batch), int_tensor(rows), int_tensor(targets), model.head(),
                                             {.temperature = kTemperature, .rows_per_chunk = rows_per_chunk})
                                  .logprobs.detach();
  return {logprobs.const_data_ptr<float>(), logprobs.const_data_ptr<float>() + logprobs.numel()};
}

TEST_P(OnPolicy, TheTrainersLogprobsAreTheSamplers) {
  const CausalLM model = CausalLM::init(small_model(GetParam().family), 3, {.dtype = GetParam().dtype});
  const std::vector<SampleRequest> all = requests();
  int compared = 0;
  for (const std::int64_t cache_tokens : {std::int64_t{192}, std::int64_t{65536}}) {  // few live answers, all of them
    for (const int threads : {1, 2}) {
      set_threads(threads);
      const auto sampled = Sampler(model, nullptr)
                               .generate(all, {.temperature = kTemperature,
                                               .max_new_tokens = 45,
                                               .ignore_eos = true,
                                               .cache_tokens = cache_tokens});
      std::vector<Answer> answers;
      for (std::size_t r = 0; r < all.size(); ++r)
        for (const Completion& completion : sampled[r]) answers.push_back({r, &completion});
      for (const std::size_t per_batch : {std::size_t{1}, std::size_t{4}, answers.size()}) {
        set_threads(3 - threads);
        std::vector<float> want, got;
        for (std::size_t begin = 0; begin < answers.size(); begin += per_batch) {
          const std::size_t end = std::min(begin + per_batch, answers.size());
          const std::vector<Answer> part(answers.begin() + static_cast<std::ptrdiff_t>(begin),
                                         answers.begin() + static_cast<std::ptrdiff_t>(end));
          for (const Answer& answer : part)
            want.insert(want.end(), answer.completion->logprobs.begin(), answer.completion->logprobs.end());
          const std::vector<float> logprobs = trained(model, all, part, per_batch == 4 ? 7 : 256);
          got.insert(got.end(), logprobs.begin(), logprobs.end());
        }
        EXPECT_EQ(got, want) << cache_tokens << " cached tokens, " << threads << " threads, " << per_batch
                             << " answers a batch";
        compared += static_cast<int>(want.size());
      }
    }
  }
  EXPECT_EQ(compared, 2 * 2 * 3 * 12 * 45);
}

INSTANTIATE_TEST_SUITE_P(All, OnPolicy,
                         ::testing::Values(Case{"llama", DType::Float32}, Case{"llama", DType::BFloat16},
                                           Case{"qwen2", DType::BFloat16}, Case{"qwen3", DType::Float32},
                                           Case{"qwen3", DType::BFloat16}),
                         [](const auto& param) {
                           return std::string(param.param.family) +
                                  (param.param.dtype == DType::Float32 ? "_fp32" : "_bf16");
                         });

}  // namespace
}  // namespace grpo::inline GRPO_ABI
