// Training on several ranks: it is the run of one rank, whatever is shared out. Ranks are threads here; the same code
// over MPI is tests/cli/ranks.py.
#include <grpo/train.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "support/tensors.h"
#include "support/thread_transport.h"
#include "support/tiny_run.h"
#include "support/tolerance.h"
#include "train/plan.h"
#include "train/ranks.h"

namespace grpo::testing {
namespace {

using Ranks = OpsTest;

// ---- shares ---------------------------------------------------------------------------------------------------------

// Calls `share` on every rank and checks that the ranges follow each other and cover `count`.
std::vector<IndexRange> shares(int ranks, std::size_t count, const std::function<IndexRange(Communicator&)>& share) {
  std::vector<IndexRange> all(static_cast<std::size_t>(ranks));
  run_ranks(ranks, [&](Communicator& c) { all[static_cast<std::size_t>(c.rank())] = share(c); });
  std::size_t covered = 0;
  for (const IndexRange& one : all) {
    if (one.size() == 0) continue;
    EXPECT_EQ(one.begin, covered);
    covered = one.end;
  }
  EXPECT_EQ(covered, count);
  return all;
}

TEST(Shares, CoverEverythingOnce) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    const int ranks = 1 + trial % 5;
    const std::size_t count = random() % 20;
    for (const IndexRange& one : shares(ranks, count, [&](Communicator& c) { return even_share(count, c); })) {
      EXPECT_LE(one.size(), count / static_cast<std::size_t>(ranks) + 1);
      EXPECT_GE(one.size(), count / static_cast<std::size_t>(ranks));
    }
    std::vector<std::int64_t> costs;
    std::vector<std::size_t> runs;
    for (std::size_t i = 0; i < count; ++i) {
      costs.push_back(static_cast<std::int64_t>(random() % 50));
      runs.push_back(i == 0 ? 0 : runs.back() + (random() % 3 == 0 ? 1 : 0));
    }
    shares(ranks, count, [&](Communicator& c) { return balanced_share(costs, runs, c); });
  }
}

TEST(Shares, AreBalancedAndKeepRunsTogether) {
  const std::vector<std::int64_t> costs = {9, 1, 1, 1, 10, 2};
  const std::vector<std::size_t> runs = {0, 1, 1, 1, 2, 3};
  const auto two = shares(2, 6, [&](Communicator& c) { return balanced_share(costs, runs, c); });
  EXPECT_EQ(two[0].end, 4u) << "12 and 12";
  const std::vector<std::size_t> one_run(6, 0);
  const auto cut = shares(2, 6, [&](Communicator& c) { return balanced_share(costs, one_run, c); });
  EXPECT_EQ(cut[0].end, 4u) << "fewer runs than ranks: cut";
}

// ---- optimiser ------------------------------------------------------------------------------------------------------

class ShardedOptimizer : public OpsTest, public ::testing::WithParamInterface<DType> {
 protected:
  static std::vector<Parameter> parameters() {
    std::vector<Parameter> result;
    const std::vector<std::vector<std::int64_t>> shapes = {{40, 48}, {7, 20}, {5}, {64, 16}};
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      result.push_back(make_parameter("w" + std::to_string(i), shapes[i], GetParam(), true));
      set_values(result.back(), random_tensor(shapes[i], static_cast<std::uint32_t>(i)));
    }
    return result;
  }
  static at::Tensor gradient(const Parameter& parameter, int step, int part) {
    return random_tensor(parameter.shape, static_cast<std::uint32_t>(1000 * step + 10 * part) + parameter.name.back());
  }
  // `ranks` ranks add up four parts of each step's gradient in order; returns weights and moments.
  static std::vector<NamedTensor> train(int ranks, int zero_stage) {
    std::vector<NamedTensor> result;
    run_ranks(ranks, [&](Communicator& communicator) {
      set_threads(1);
      std::vector<Parameter> own = parameters();
      std::vector<Parameter*> pointers;
      for (Parameter& parameter : own) pointers.push_back(&parameter);
      Optimizer optimizer(pointers, {.learning_rate = 0.02, .weight_decay = 0.1, .max_grad_norm = 6}, 10,
                          &communicator);
      for (int step = 0; step < 3; ++step) {
        for (int part = 0; part < 4; ++part) {
          for (Parameter& parameter : own) {
            if (part * ranks / 4 != communicator.rank()) continue;
            const at::Tensor grad = pack_like(parameter, gradient(parameter, step, part));
            parameter.grad = parameter.grad.defined() ? parameter.grad + grad : grad;
          }
          if (zero_stage == 2) optimizer.reduce(pointers);
        }
        optimizer.step();
      }
      const std::vector<NamedTensor> state = optimizer.state();
      EXPECT_EQ(state.size(), communicator.rank() == 0 ? 8u : 0u);
      if (communicator.rank() != 0) return;
      result = state;
      for (const Parameter& parameter : own) {
        result.push_back({parameter.name, get_values(parameter)});
        EXPECT_TRUE(at::equal(parameter.compute.to(at::kFloat),
                              GetParam() == DType::BFloat16 && parameter.layout == ParameterLayout::Panels
                                  ? parameter.master.to(at::kBFloat16).to(at::kFloat)
                                  : parameter.master));
      }
    });
    return result;
  }
};

// Four parts of a gradient are summed in another order: at most 3 roundings of the sum of their sizes differ. Over a
// step m moves by 1 - beta1 of that, v by twice its gradient's share; the weight by the rate times m / sqrt(v), whose
// relative change is about theirs. Sizes here are of order 1, so 3 steps stay within 3 x 40 roundings.
TEST_P(ShardedOptimizer, IsTheOptimiserOfOneRank) {
  const std::vector<NamedTensor> one = train(1, 1);
  for (const int ranks : {2, 4})
    for (const int zero_stage : {1, 2}) {
      const std::vector<NamedTensor> many = train(ranks, zero_stage);
      ASSERT_EQ(many.size(), one.size());
      for (std::size_t i = 0; i < one.size(); ++i) {
        ASSERT_EQ(many[i].name, one[i].name);
        const double size = one[i].tensor.abs().max().item<double>() + 1;
        EXPECT_LE((many[i].tensor - one[i].tensor).abs().max().item<double>(), 120 * unit_roundoff(at::kFloat) * size)
            << one[i].name << " on " << ranks << " ranks, stage " << zero_stage;
      }
    }
}

TEST_P(ShardedOptimizer, GivesTheSameBitsAgain) {
  for (const int zero_stage : {1, 2}) {
    const std::vector<NamedTensor> first = train(2, zero_stage), second = train(2, zero_stage);
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(bit_equal(first[i].tensor, second[i].tensor));
  }
}

// Moments of two ranks, loaded by three, are the same bits.
TEST_P(ShardedOptimizer, StateKnowsNoRanks) {
  const std::vector<NamedTensor> all = train(2, 1);
  const std::vector<NamedTensor> moments(all.begin(), all.begin() + 8);
  for (const int ranks : {1, 3})
    run_ranks(ranks, [&](Communicator& communicator) {
      std::vector<Parameter> own = parameters();
      std::vector<Parameter*> pointers;
      for (Parameter& parameter : own) pointers.push_back(&parameter);
      Optimizer optimizer(pointers, {}, 10, &communicator);
      optimizer.load_state(moments, 3);
      EXPECT_EQ(optimizer.steps_done(), 3);
      const std::vector<NamedTensor> back = optimizer.state();
      for (std::size_t i = 0; i < back.size(); ++i) EXPECT_TRUE(bit_equal(back[i].tensor, moments[i].tensor));
    });
}

TEST_P(ShardedOptimizer, ANonFiniteGradientOnOneRankStopsAll) {
  std::mutex mutex;
  std::vector<std::string> errors;
  try {
    run_ranks(3, [&](Communicator& communicator) {
      Parameter weight = make_parameter("w", {40, 48}, GetParam(), true);
      Optimizer optimizer({&weight}, {}, 10, &communicator);
      at::Tensor grad = at::zeros({40, 48});
      if (communicator.rank() == 1) grad[37][11] = NAN;
      weight.grad = pack_like(weight, grad);
      try {
        optimizer.step();
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        errors.emplace_back(error.what());
        EXPECT_EQ(error.kind(), ErrorKind::Guard);
        throw;
      }
    });
  } catch (const Error&) {
  }
  ASSERT_EQ(errors.size(), 3u);
  for (const std::string& error : errors) EXPECT_NE(error.find("w[37, 11]"), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(Types, ShardedOptimizer, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& type) { return type.param == DType::Float32 ? "fp32" : "bf16"; });

// ---- trainer --------------------------------------------------------------------------------------------------------

struct Outcome {
  std::vector<std::vector<std::int32_t>> answers;  // of the first rollout
  std::vector<Metrics> steps;
  std::vector<NamedTensor> weights;
};

Outcome run_steps(RunConfig config, int ranks, int steps) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(ranks));
  run_ranks(ranks, [&](Communicator& communicator) {
    Outcome& outcome = outcomes[static_cast<std::size_t>(communicator.rank())];
    Trainer trainer(config, std::move(communicator));
    if (config.kind == RunKind::Grpo) trainer.rewards().add(std::make_unique<MixedIds>());
    trainer.on_rollout([&](const RolloutReport& report) {
      if (report.step > 0) return;
      for (const RolloutGroup& group : *report.groups)
        for (const Completion& completion : group.completions) outcome.answers.push_back(completion.ids);
    });
    for (int i = 0; i < steps; ++i) outcome.steps.push_back(without_times(trainer.step()));
    outcome.weights = weights_of(trainer.model());
  });
  for (const Outcome& other : outcomes) {  // every rank ends with the same
    EXPECT_EQ(other.answers, outcomes[0].answers);
    EXPECT_EQ(other.steps, outcomes[0].steps);
    for (std::size_t i = 0; i < other.weights.size(); ++i)
      EXPECT_TRUE(bit_equal(other.weights[i].tensor, outcomes[0].weights[i].tensor)) << other.weights[i].name;
  }
  return outcomes[0];
}

RunConfig smooth(RunConfig config, DType dtype) {
  config.model.dtype = dtype;
  config.optimizer.epsilon = 1;  // an update that is a smooth function of the gradient
  config.optimizer.learning_rate = 1e-3;
  config.grpo.loss.beta = 0.1;
  config.grpo.micro_batch_tokens = 20;  // several micro-batches a rank, not the same number on each
  config.sft.micro_batch_tokens = 20;
  return config;
}

class RanksTrain : public OpsTest, public ::testing::WithParamInterface<DType> {};

// The first step samples the same answers, to the bit. Its gradient is the same sum cut differently: an element is a
// sum over at most 12 answers x 6 tokens, so fp32 norms agree to 72 roundings of the sum of the terms' sizes, taken as
// 30 times the result. In bf16 a prompt's rows, shared by other answers, round some 20 results a layer anew. The
// weights move by the rate times that.
TEST_P(RanksTrain, AStepIsTheStepOfOneRank) {
  const TinyRun tiny;
  for (const RunConfig& plain : {tiny.grpo(), tiny.sft()}) {
    RunConfig config = smooth(plain, GetParam());
    const Outcome one = run_steps(config, 1, 1);
    const double relative =
        GetParam() == DType::Float32 ? 72 * 30 * unit_roundoff(at::kFloat) : 2 * 20 * unit_roundoff(at::kBFloat16);
    for (const int ranks : {2, 4})
      for (const int zero_stage : {1, 2}) {
        SCOPED_TRACE(::testing::Message() << ranks << " ranks, stage " << zero_stage);
        config.distributed.zero_stage = zero_stage;
        const Outcome many = run_steps(config, ranks, 1);
        EXPECT_EQ(many.answers, one.answers);
        ASSERT_EQ(many.steps[0].size(), one.steps[0].size());
        for (const auto& [name, value] : one.steps[0])
          EXPECT_NEAR(many.steps[0].at(name), value, relative * (std::abs(value) + 1)) << name;
        for (std::size_t i = 0; i < one.weights.size(); ++i) {
          const double far = (many.weights[i].tensor - one.weights[i].tensor).abs().max().item<double>();
          const double size = one.weights[i].tensor.abs().max().item<double>();
          EXPECT_LE(far, 1e-3 * relative + unit_roundoff(at::kFloat) * size) << one.weights[i].name;
        }
      }
  }
}

TEST_P(RanksTrain, ARunGivesTheSameBitsAgain) {
  const TinyRun tiny;
  RunConfig config = smooth(tiny.grpo(), GetParam());
  config.grpo.steps_per_generation = 2;
  config.grpo.minibatch_split = MinibatchSplit::Completions;
  config.distributed.zero_stage = 2;
  const Outcome first = run_steps(config, 3, 4);
  for (const Recompute recompute : {Recompute::Off, Recompute::On}) {
    config.train.recompute = recompute;
    const Outcome second = run_steps(config, 3, 4);
    EXPECT_EQ(first.steps, second.steps);
    for (std::size_t i = 0; i < first.weights.size(); ++i)
      EXPECT_TRUE(bit_equal(first.weights[i].tensor, second.weights[i].tensor));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, RanksTrain, ::testing::Values(DType::Float32, DType::BFloat16),
                         [](const auto& type) { return type.param == DType::Float32 ? "fp32" : "bf16"; });

TEST_F(Ranks, KeepAsMuchAsThePlanSays) {
  const TinyRun tiny;
  const RunConfig config = tiny.grpo();
  for (const int ranks : {1, 2, 4}) {
    const PhaseBytes plan = resident_bytes(config, tiny_model_config(), ranks);
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(ranks));
    run_ranks(ranks, [&](Communicator& communicator) {
      const CausalLM model = CausalLM::init(tiny_model_config(), 1, {.trainable = true});
      bytes[static_cast<std::size_t>(communicator.rank())] =
          Optimizer(model.parameters(), {}, 1, &communicator).state_bytes();
    });
    EXPECT_EQ(*std::max_element(bytes.begin(), bytes.end()), plan.part("moments")) << ranks;
    std::int64_t whole = 0;
    for (const std::int64_t one : bytes) whole += one;
    EXPECT_EQ(whole, resident_bytes(config, tiny_model_config()).part("moments"));
  }
}

// Throws on one rank's answers.
class Brittle : public Reward {
 public:
  explicit Brittle(int rank) : rank_(rank) {}
  std::string_view name() const override { return "brittle"; }
  double score(const RewardInput&) const override {
    if (rank_ == 1) throw Error("no such file: gold.json");
    return 1;
  }

 private:
  int rank_;
};

TEST_F(Ranks, AnErrorOnOneIsAnErrorOnAll) {
  const TinyRun tiny;
  std::mutex mutex;
  std::vector<std::string> errors;
  const auto body = [&](Communicator& communicator) {
    const int rank = communicator.rank();
    Trainer trainer(tiny.grpo(), std::move(communicator));
    trainer.rewards().add(std::make_unique<Brittle>(rank));
    try {
      trainer.run();
    } catch (const Error& error) {
      const std::lock_guard lock(mutex);
      errors.emplace_back(error.what());
      throw;
    }
  };
  EXPECT_THROW(run_ranks(3, body), Error);
  ASSERT_EQ(errors.size(), 3u);
  for (const std::string& error : errors) EXPECT_NE(error.find("gold.json"), std::string::npos) << error;
}

TEST_F(Ranks, RefuseDifferentConfigs) {
  const TinyRun tiny;
  std::string message;
  try {
    run_ranks(2, [&](Communicator& communicator) {
      RunConfig config = tiny.grpo();
      if (communicator.rank() == 1) config.grpo.temperature = 0.5;
      const Trainer trainer(config, std::move(communicator));
    });
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_NE(message.find("ranks 0 and 1 have different configs"), std::string::npos) << message;
}

TEST_F(Ranks, ARunWritesOnceAndGoesOnWithAnotherNumber) {
  const TinyRun tiny;
  RunConfig config = smooth(tiny.grpo(4), DType::Float32);
  config.save_every = 1;
  const auto run = [&](const std::string& folder, int ranks, std::int64_t stop_after, Trainer::Start start) {
    config.output_dir = tiny.path(folder);
    run_ranks(ranks, [&](Communicator& communicator) {
      const bool asks = communicator.rank() == communicator.size() - 1;
      Trainer trainer(config, std::move(communicator));
      trainer.rewards().add(std::make_unique<MixedIds>());
      trainer.on_step([&](const StepReport& report) {
        if (report.step == stop_after && asks) Trainer::request_stop();
      });
      trainer.run(start);
    });
  };
  run("whole", 1, 0, Trainer::Start::Fresh);
  run("parts", 2, 2, Trainer::Start::Fresh);
  EXPECT_EQ(newest_checkpoint(config.output_dir), 2);
  EXPECT_EQ(read_jsonl(tiny.path("parts/metrics.jsonl")).size(), 2u) << "rank 0 alone writes";
  run("parts", 3, 0, Trainer::Start::Resume);
  EXPECT_EQ(newest_checkpoint(config.output_dir), 4);
  const std::vector<Json> whole = read_jsonl(tiny.path("whole/metrics.jsonl")),
                          parts = read_jsonl(tiny.path("parts/metrics.jsonl"));
  ASSERT_EQ(parts.size(), 4u);
  // Rewards of a step are the same answers' as long as no draw falls between two roundings of a weight.
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(parts[i].at("reward"), whole[i].at("reward")) << i;
}

}  // namespace
}  // namespace grpo::testing
