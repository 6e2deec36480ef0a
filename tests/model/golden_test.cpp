// Against transformers: tests/golden/model/make.py.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <grpo/model.h>

#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

// The promise to users: fp32 logits within 1e-4 of transformers. Both sum at most 64 products of order 1 in fp32 some
// 20 times over (64 * 2^-24 * 20 = 8e-5 in the worst case, a tenth of that in practice).
constexpr double kLogitTolerance = 1e-4;

struct Golden {
  std::map<std::string, at::Tensor> tensors;
  std::vector<std::vector<std::int32_t>> sequences;
  std::int64_t shared = 0;

  explicit Golden(const std::string& folder) {
    for (NamedTensor& item : load_safetensors(folder + "/golden.safetensors")) tensors[item.name] = item.tensor;
    shared = tensors.at("shared").item<std::int64_t>();
    const at::Tensor ids = tensors.at("ids"), lengths = tensors.at("lengths");
    std::int64_t row = 0;
    for (std::int64_t i = 0; i < lengths.numel(); ++i) {
      sequences.emplace_back();
      for (const std::int64_t end = row + lengths[i].item<std::int64_t>(); row < end; ++row) {
        sequences.back().push_back(ids[row].item<std::int32_t>());
      }
    }
  }
};

double greatest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

struct GoldenCase {
  const char* name;
  int num_gradients;
};

class GoldenModel : public ::testing::TestWithParam<GoldenCase> {
 protected:
  GoldenModel() : folder_(std::string(GRPO_SOURCE_DIR "/tests/golden/model/") + GetParam().name), golden_(folder_) {}

  std::string folder_;
  Golden golden_;
};

TEST_P(GoldenModel, LogitsAreTransformers) {
  const CausalLM model = CausalLM::load(folder_, {});
  const at::NoGradGuard no_grad;
  const at::Tensor ours = logits(model.forward(testing::separate_sequences(golden_.sequences)), model.head());
  EXPECT_LE(greatest_difference(ours, golden_.tensors.at("logits")), kLogitTolerance);
}

// bf16 rounds each of some 15 results in a row to 9 bits: their errors, independent, add up to sqrt(15) 2^-9 = 0.8 % of
// the logits; thrice that is the bound. A wrong formula is off by far more.
TEST_P(GoldenModel, Bf16LogitsAreClose) {
  const CausalLM model = CausalLM::load(folder_, {.dtype = DType::BFloat16});
  const at::NoGradGuard no_grad;
  const at::Tensor ours = logits(model.forward(testing::separate_sequences(golden_.sequences)), model.head());
  const at::Tensor theirs = golden_.tensors.at("logits");
  EXPECT_LE((ours - theirs).norm().item<double>(), 0.024 * theirs.norm().item<double>());
}

// The mean loss over the targets, with the second and third sequence's prompt computed once.
TEST_P(GoldenModel, GradientsAreTransformers) {
  const CausalLM model = CausalLM::load(folder_, {.trainable = true});
  TokenBatch batch;
  std::vector<std::int32_t> rows, targets;
  const auto append = [&](std::vector<std::int32_t> tokens, std::int32_t prefix) {
    const auto begin = static_cast<std::int32_t>(batch.tokens.size());
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    batch.sequences.push_back(
        {.begin = begin, .end = static_cast<std::int64_t>(batch.tokens.size()), .prefix = prefix});
    return begin;
  };
  const auto& sequences = golden_.sequences;
  append(sequences[0], -1);
  for (std::size_t i = 1; i < sequences[0].size(); ++i) {
    rows.push_back(static_cast<std::int32_t>(i) - 1);
    targets.push_back(sequences[0][i]);
  }
  const std::int32_t prompt = append({sequences[1].begin(), sequences[1].begin() + golden_.shared}, -1);
  const std::int32_t prompt_last = prompt + static_cast<std::int32_t>(golden_.shared) - 1;
  for (std::size_t s = 1; s < sequences.size(); ++s) {
    const std::vector<std::int32_t> rest(sequences[s].begin() + golden_.shared, sequences[s].end());
    const std::int32_t begin = append(rest, 1);
    for (std::size_t i = 0; i < rest.size(); ++i) {
      rows.push_back(i == 0 ? prompt_last : begin + static_cast<std::int32_t>(i) - 1);
      targets.push_back(rest[i]);
    }
  }
  const at::Tensor logprobs =
      token_logprobs(model.forward(batch), at::tensor(rows), at::tensor(targets), model.head()).logprobs;
  (-logprobs.sum() / static_cast<double>(targets.size())).backward();

  int compared = 0;
  for (const auto& [name, theirs] : golden_.tensors) {
    if (name.rfind("grad.", 0) != 0) continue;
    const at::Tensor ours = get_grad(model.parameter(name.substr(5)));
    EXPECT_LE(greatest_difference(ours, theirs), 1e-4 * theirs.abs().max().item<double>()) << name;
    ++compared;
  }
  EXPECT_EQ(compared, GetParam().num_gradients);
}

TEST_P(GoldenModel, GreedyContinuationIsTransformers) {
  const CausalLM model = CausalLM::load(folder_, {});
  KvCache cache(model, 128);
  const std::int32_t sequence = cache.open();
  std::vector<std::int32_t> next = golden_.sequences[0], continuation;
  const at::Tensor theirs = golden_.tensors.at("greedy");
  while (static_cast<std::int64_t>(continuation.size()) < theirs.numel()) {
    TokenBatch batch = testing::separate_sequences({next});
    batch.sequences[0].cache = sequence;
    const at::Tensor hidden = model.forward(batch, &cache);
    next = {static_cast<std::int32_t>(
        logits(hidden.slice(0, hidden.size(0) - 1), model.head()).argmax().item<std::int64_t>())};
    continuation.push_back(next[0]);
  }
  EXPECT_TRUE(theirs.equal(at::tensor(continuation).to(at::kLong))) << at::tensor(continuation);
}

INSTANTIATE_TEST_SUITE_P(Tiny, GoldenModel,
                         ::testing::Values(GoldenCase{"tied", 5}, GoldenCase{"untied", 6}, GoldenCase{"llama3", 12},
                                           GoldenCase{"qwen2", 9}, GoldenCase{"qwen3", 7}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace grpo::inline GRPO_ABI
