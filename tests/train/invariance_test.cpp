// What must not change a step: how it is cut into micro-batches, whether prompts are shared, who the neighbours are,
// the number of threads; and that sampler and trainer are one forward. Each test computes both sides.
#include <grpo/train.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/tensors.h"
#include "support/tiny_run.h"
#include "support/tolerance.h"

namespace grpo::testing {
namespace {

// Sampled answers to prompts around the size of a cache block; advantages of both signs.
std::vector<RolloutGroup> sampled_groups(const CausalLM& model, const std::vector<int>& prompt_lengths, int answers,
                                         double temperature) {
  std::vector<SampleRequest> requests;
  for (std::size_t i = 0; i < prompt_lengths.size(); ++i)
    requests.push_back({.ids = random_ids(prompt_lengths[i], static_cast<std::uint32_t>(i)),
                        .num_samples = answers,
                        .address = {.row = i}});
  auto completions = Sampler(model, nullptr)
                         .generate(requests, {.temperature = temperature, .max_new_tokens = 9, .cache_tokens = 700});
  std::vector<RolloutGroup> groups(requests.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].prompt.ids = requests[g].ids;
    groups[g].completions = std::move(completions[g]);
    for (int c = 0; c < answers; ++c) groups[g].advantages.push_back((c * 7 + static_cast<int>(g)) % 5 - 1.7);
  }
  return groups;
}

std::vector<float> floats(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

// Log-probs of all targets, in order of the answers.
std::vector<float> all_logprobs(const CausalLM& model, const std::vector<PackedBatch>& batches, double temperature) {
  std::vector<float> result;
  for (const PackedBatch& batch : batches) {
    const std::vector<float> part = floats(batch_logprobs(model, batch, temperature).logprobs);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

std::vector<at::Tensor> take_gradients(CausalLM& model) {
  std::vector<at::Tensor> gradients;
  for (Parameter* parameter : model.parameters()) {
    gradients.push_back(get_grad(*parameter).to(at::kDouble));
    parameter->grad.zero_();
  }
  return gradients;
}

// The gradient of a whole step over these micro-batches.
std::vector<at::Tensor> step_gradients(CausalLM& model, std::vector<PackedBatch> batches, const LossConfig& config) {
  const Denominators denominators = count_denominators(batches);
  for (PackedBatch& batch : batches) {
    if (config.beta > 0)
      for (const double logp : batch.sampler_logps) batch.ref_logps.push_back(logp - 0.25 * std::sin(20 * logp));
    const TokenLogprobs now = batch_logprobs(model, batch, 1.0, true);
    policy_loss(now.logprobs, now.entropy, loss_batch(batch), config, denominators).backward();
  }
  return take_gradients(model);
}

class Invariance : public OpsTest, public ::testing::WithParamInterface<DType> {
 protected:
  void SetUp() override { set_threads(1); }
  // The rounding of what flows through the graph.
  static double unit() { return unit_roundoff(scalar_type(GetParam())); }
  CausalLM model_ = CausalLM::init(tiny_model_config(), 7, {.dtype = GetParam(), .trainable = true});
};

// Sums are cut and ordered differently, so gradients agree to rounding. A token's own gradient comes out of a chain of
// sums (per layer: width 32 five times, feed-forward 40 twice, attention over up to 80 positions twice; once the
// vocabulary, 48), each with an error of at most its length in roundings: 2 (160 + 80 + 160) + 48 < 850. In bf16 sums
// are fp32, and what is rounded to bf16 is each of the chain's some 20 results per layer. By norms, the step's error is
// within roundings x unit x (the sum over tokens of the norms of their gradients), which the test computes.
TEST_P(Invariance, GradientsDoNotDependOnMicroBatchesOrSharing) {
  LossConfig config;
  config.beta = 0.1;
  config.entropy_coef = 0.01;
  const std::vector<RolloutGroup> groups = sampled_groups(model_, {5, 33, 64, 31}, 4, 1.0);
  const std::vector<PackedBatch> one_by_one = pack(groups, {.max_tokens = 1});
  ASSERT_EQ(one_by_one.size(), 16u);
  const std::vector<at::Tensor> want = step_gradients(model_, one_by_one, config);

  // Token by token: the loss of one target at a time, with the coefficients that the whole step gives it.
  std::vector<double> norms(want.size(), 0.0);
  const Denominators denominators = count_denominators(one_by_one);
  for (PackedBatch batch : one_by_one) {
    for (const double logp : batch.sampler_logps) batch.ref_logps.push_back(logp - 0.25 * std::sin(20 * logp));
    std::vector<double> logps = batch.sampler_logps;
    for (std::int64_t t = 0; t < static_cast<std::int64_t>(logps.size()); ++t) {
      const TokenLogprobs now = batch_logprobs(model_, batch, 1.0, true);
      const std::vector<float> entropies = floats(now.entropy);
      const std::vector<double> entropy_values(entropies.begin(), entropies.end());
      LossBatch view = loss_batch(batch);
      view.logps = logps;
      view.entropies = entropy_values;
      const LossResult result = policy_loss(view, config, denominators);
      const auto i = static_cast<std::size_t>(t);
      (now.logprobs[t] * result.grad[i] + now.entropy[t] * result.entropy_grad[i]).backward();
      const std::vector<at::Tensor> own = take_gradients(model_);
      for (std::size_t p = 0; p < own.size(); ++p) norms[p] += own[p].norm().item<double>();
    }
  }
  const double roundings = GetParam() == DType::Float32 ? 850 : 40;
  const auto expect_same = [&](const PackOptions& options) {
    const std::vector<at::Tensor> got = step_gradients(model_, pack(groups, options), config);
    for (std::size_t p = 0; p < got.size(); ++p) {
      const double error = (got[p] - want[p]).norm().item<double>();
      EXPECT_LE(error, roundings * unit() * norms[p])
          << model_.parameters()[p]->name << ", max_tokens " << options.max_tokens << ", shared "
          << options.share_prefix << ", norm " << want[p].norm().item<double>();
    }
  };
  for (const std::int64_t max_tokens : {40, 90, 150, 8192}) {
    expect_same({.max_tokens = max_tokens});
    expect_same({.max_tokens = max_tokens, .share_prefix = false});
  }
}

TEST_P(Invariance, LogprobsAreTheSamplersBitForBit) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    ModelConfig config = tiny_model_config();
    config.family = family;
    const CausalLM model = CausalLM::init(config, 7, {.dtype = GetParam(), .trainable = true});
    vary_vectors(model);
    for (const double temperature : {1.0, 0.7}) {
      const std::vector<RolloutGroup> groups = sampled_groups(model, {1, 5, 31, 32, 33, 70}, 5, temperature);
      std::vector<float> sampled;
      for (const RolloutGroup& group : groups)
        for (const Completion& completion : group.completions)
          sampled.insert(sampled.end(), completion.logprobs.begin(), completion.logprobs.end());
      for (const PackOptions& options : {PackOptions{}, PackOptions{.share_prefix = false},
                                         PackOptions{.max_tokens = 1}, PackOptions{.max_tokens = 100}}) {
        EXPECT_EQ(all_logprobs(model, pack(groups, options), temperature), sampled) << family;
        const at::NoGradGuard no_grad;
        EXPECT_EQ(all_logprobs(model, pack(groups, options), temperature), sampled) << family;
      }
      set_threads(2);
      EXPECT_EQ(all_logprobs(model, pack(groups), temperature), sampled) << family;
      set_threads(1);
    }
  }
}

struct Trajectory {
  std::vector<Metrics> metrics;
  std::vector<NamedTensor> weights;
};

Trajectory train(const RunConfig& config) {
  Trainer trainer = tiny_trainer(config);
  Trajectory result;
  for (int step = 0; step < config.max_steps; ++step) result.metrics.push_back(without_times(trainer.step()));
  result.weights = weights_of(trainer.model());
  return result;
}

TEST_P(Invariance, ThreadsDoNotChangeATrajectory) {
  const TinyRun run;
  for (const RunKind kind : {RunKind::Grpo, RunKind::Sft}) {
    RunConfig config = kind == RunKind::Grpo ? run.grpo(3) : run.sft(3);
    config.model.dtype = GetParam();
    config.grpo.loss.beta = kind == RunKind::Grpo ? 0.05 : 0;
    const Trajectory one = train(config);
    config.threads = 2;
    const Trajectory two = train(config);
    EXPECT_EQ(one.metrics, two.metrics);
    for (std::size_t p = 0; p < one.weights.size(); ++p)
      EXPECT_TRUE(bit_equal(one.weights[p].tensor, two.weights[p].tensor)) << one.weights[p].name;
    EXPECT_NE(one.metrics[0].at("loss"), one.metrics[2].at("loss"));
  }
}

// To the bit: the forward is computed twice, by the same operations on the same values.
TEST_P(Invariance, RecomputationDoesNotChangeAGradient) {
  LossConfig config;
  config.beta = 0.1;
  config.entropy_coef = 0.01;
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    ModelConfig model_config = tiny_model_config();
    model_config.family = family;
    model_config.num_layers = 3;
    CausalLM model = CausalLM::init(model_config, 7, {.dtype = GetParam(), .trainable = true});
    vary_vectors(model);
    const std::vector<PackedBatch> batches = pack(sampled_groups(model, {5, 33, 64}, 4, 1.0), {.max_tokens = 90});
    ASSERT_GT(batches.size(), 1u);
    const std::vector<at::Tensor> plain = step_gradients(model, batches, config);
    model.set_recompute(true);
    for (const int threads : {1, 2}) {
      set_threads(threads);
      const std::vector<at::Tensor> again = step_gradients(model, batches, config);
      for (std::size_t p = 0; p < plain.size(); ++p)
        EXPECT_TRUE(bit_equal(again[p], plain[p])) << family << ", " << model.parameters()[p]->name;
    }
    set_threads(1);
  }
}

TEST_P(Invariance, RecomputationDoesNotChangeATrajectory) {
  const TinyRun run;
  for (const RunKind kind : {RunKind::Grpo, RunKind::Sft}) {
    RunConfig config = kind == RunKind::Grpo ? run.grpo(4) : run.sft(4);
    config.model.dtype = GetParam();
    config.grpo.loss.beta = kind == RunKind::Grpo ? 0.05 : 0;
    config.grpo.num_iterations = 2;
    config.grpo.micro_batch_tokens = config.sft.micro_batch_tokens = 40;
    const Trajectory plain = train(config);
    config.train.recompute = Recompute::On;
    for (const int threads : {1, 2}) {
      config.threads = threads;
      const Trajectory again = train(config);
      EXPECT_EQ(plain.metrics, again.metrics);
      for (std::size_t p = 0; p < plain.weights.size(); ++p)
        EXPECT_TRUE(bit_equal(plain.weights[p].tensor, again.weights[p].tensor)) << plain.weights[p].name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Invariance, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& type) { return type.param == DType::Float32 ? "fp32" : "bf16"; });

}  // namespace
}  // namespace grpo::testing
