// What stops a run, and what it leaves: non-finite numbers, rewards that fail, data that gives nothing to train on.
#include <grpo/train.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "support/tensors.h"
#include "support/tiny_run.h"
#include "support/tolerance.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

using Guard = OpsTest;
using BadInput = OpsTest;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void spoil_weight(CausalLM& model, const std::string& name) {
  at::Tensor values = get_values(model.parameter(name)).clone();
  values.view({-1})[3] = kNan;
  set_values(model.parameter(name), values);
}

void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" in: " << text;
}

TEST_F(Guard, ANonFiniteWeightStopsTheStepAndKeepsTheCheckpoint) {
  const TinyRun tiny;
  for (RunConfig config : {tiny.grpo(4), tiny.sft(4)}) {
    config.output_dir = tiny.path(config.kind == RunKind::Grpo ? "grpo" : "sft");
    config.save_every = 1;
    Trainer trainer = tiny_trainer(config);
    trainer.on_step([&](const StepReport& report) {
      if (report.step == 2) spoil_weight(trainer.model(), "model.layers.1.mlp.up_proj.weight");
    });
    const std::string error = error_of([&] { trainer.run(); }, ErrorKind::Guard);
    expect_contains(error, {"step 3: ", "nan"});
    EXPECT_FALSE(fs::exists(config.output_dir + "/checkpoints/step-3"));
    EXPECT_EQ(read_jsonl(config.output_dir + "/metrics.jsonl").size(), 2u);
    const CausalLM model = CausalLM::load(config.output_dir + "/checkpoints/step-1", {});
    for (const Parameter* parameter : model.parameters())
      EXPECT_TRUE(std::isfinite(get_values(*parameter).abs().max().item<double>())) << parameter->name;
  }
}

TEST_F(Guard, ANonFiniteGradientNamesItsTensorAndChangesNothing) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(3);
  config.save_every = 1;
  Trainer trainer = tiny_trainer(config);
  trainer.on_rollout([&](const RolloutReport& report) {
    if (report.step != 1) return;
    Parameter& parameter = trainer.model().parameter("model.layers.1.self_attn.k_proj.weight");
    at::Tensor grad = get_grad(parameter).clone();
    grad[2][5] = kNan;
    parameter.grad = pack_like(parameter, grad);
  });
  const std::string error = error_of([&] { trainer.run(); }, ErrorKind::Guard);
  expect_contains(error, {"step 2: ", "model.layers.1.self_attn.k_proj.weight[2, 5]", "nan"});
  EXPECT_EQ(newest_checkpoint(config.output_dir), 1);
  const CausalLM saved = CausalLM::load(resolve_model_path(config.output_dir), {});
  for (const Parameter* parameter : trainer.model().parameters())
    EXPECT_TRUE(bit_equal(get_values(saved.parameter(parameter->name)), get_values(*parameter))) << parameter->name;
}

TEST_F(Guard, AFailedStepIsTheLast) {
  const TinyRun tiny;
  Trainer trainer = tiny_trainer(tiny.grpo(3));
  trainer.step();
  spoil_weight(trainer.model(), "model.layers.1.mlp.up_proj.weight");
  error_of([&] { trainer.step(); }, ErrorKind::Guard);
  for (const std::string& error : {error_of([&] { trainer.step(); }), error_of([&] { trainer.run(); })})
    expect_contains(error, {"the one before failed half-way", "make a new Trainer"});
}

// Fails on the answers it is told to: on the first `num_bad` of its calls from call `from` on.
class Failing final : public MixedIds {
 public:
  enum class How { Throws, Nan, Infinity };
  Failing(How how, int from, int num_bad) : how_(how), from_(from), num_bad_(num_bad) {}
  double score(const RewardInput& input) const override {
    const int call = calls_++;
    if (call < from_ || call >= from_ + num_bad_) return MixedIds::score(input);
    if (how_ == How::Throws) throw std::runtime_error("out of order");
    return how_ == How::Nan ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  }

 private:
  How how_;
  int from_, num_bad_;
  mutable std::atomic<int> calls_ = 0;
};

// Twelve answers a step.
Trainer with_failing(RunConfig config, Failing::How how, int from, int num_bad) {
  config.max_failure_fraction = 0.2;
  Trainer trainer(config);
  trainer.rewards().add(std::make_unique<Failing>(how, from, num_bad));
  return trainer;
}

TEST_F(Guard, AThrowingRewardIsAnErrorAtFirstAndCountedLater) {
  const TinyRun tiny;
  for (const Failing::How how : {Failing::How::Throws, Failing::How::Infinity}) {
    Trainer first = with_failing(tiny.grpo(), how, 3, 1);
    expect_contains(error_of([&] { first.step(); }), {"rewards.mixed_ids", "sample"});
    Trainer later = with_failing(tiny.grpo(), how, 15, 2);
    EXPECT_FALSE(later.step().contains("rewards/mixed_ids/num_thrown"));
    const Metrics metrics = later.step();
    EXPECT_EQ(metrics.at("rewards/mixed_ids/num_thrown"), 2);
    EXPECT_EQ(metrics.at("rewards/num_missing"), 2);
    EXPECT_TRUE(std::isfinite(metrics.at("loss")));
    Trainer often = with_failing(tiny.grpo(), how, 15, 3);
    often.step();
    expect_contains(error_of([&] { often.step(); }, ErrorKind::Guard),
                    {"step 2: ", "max_failure_fraction", "3 of 12", "rewards.mixed_ids"});
  }
}

TEST_F(Guard, AnswersThatCannotBeScoredLeaveTheLoss) {
  const TinyRun tiny;
  Trainer trainer = with_failing(tiny.grpo(), Failing::How::Nan, 0, 5);
  trainer.on_rollout([](const RolloutReport& report) {
    double num_included = 0;
    for (const RolloutGroup& group : *report.groups)
      for (std::size_t c = 0; c < 4; ++c) {
        num_included += group.included[c];
        EXPECT_EQ(group.included[c] == 0, std::isnan(group.rewards[c][0]));
        EXPECT_TRUE(std::isfinite(group.advantages[c]));
      }
    EXPECT_EQ(num_included, 7);
  });
  const Metrics metrics = trainer.step();
  EXPECT_EQ(metrics.at("rewards/mixed_ids/num_missing"), 5);
  EXPECT_TRUE(std::isfinite(metrics.at("loss")));
  EXPECT_GT(metrics.at("grad_norm"), 0);
  Trainer none = with_failing(tiny.grpo(), Failing::How::Nan, 0, 12);  // nothing to learn from, nothing broken
  EXPECT_EQ(none.step().at("loss"), 0);
}

// A run that was past its first rollout counts the failure, so resuming it must as well.
TEST_F(Guard, AResumedRunHasHadItsFirstRollout) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(1);
  with_failing(config, Failing::How::Throws, 0, 0).run();
  config.max_steps = 2;
  Trainer trainer = with_failing(config, Failing::How::Throws, 3, 1);
  trainer.run(Trainer::Start::Resume);
  EXPECT_EQ(read_jsonl(tiny.path("run/metrics.jsonl"))[1].at("rewards/mixed_ids/num_thrown").as_double(), 1);
}

TEST_F(Guard, AFailedEvaluationDoesNotCostTheTraining) {
  const TinyRun tiny;
  for (int i = 0; i < 4; ++i) tiny.add_row(i, 9, "eval.jsonl");
  RunConfig config = tiny.grpo(2);
  config.eval.data = tiny.path("eval.jsonl");
  Trainer trainer = with_failing(config, Failing::How::Throws, 24, 4);
  expect_contains(error_of([&] { trainer.run(); }, ErrorKind::Guard), {"max_failure_fraction"});
  EXPECT_EQ(newest_checkpoint(config.output_dir), 2);
}

// The message of a run that must end before it has made its folder.
std::string refusal(const RunConfig& config) {
  const std::string error = error_of([&] { tiny_trainer(config).run(); });
  EXPECT_FALSE(fs::exists(config.output_dir)) << error;
  return error;
}

TEST_F(BadInput, DataThatGivesNothingIsRefused) {
  const TinyRun tiny;
  for (RunConfig config : {tiny.grpo(), tiny.sft()}) {
    config.data.train = tiny.path("nowhere.jsonl");
    expect_contains(refusal(config), {"nowhere.jsonl"});
    tiny.write("empty.jsonl", "\n");
    config.data.train = tiny.path("empty.jsonl");
    expect_contains(refusal(config), {"empty.jsonl: expected at least one row"});
    tiny.write("bad.jsonl", "{\"question\": \"1+1=\", \"answer\": \"2\", \"completion\": \"2\"}\n{\"other\": 1}\n");
    config.data.train = tiny.path("bad.jsonl");
    expect_contains(refusal(config), {"bad.jsonl:2", "the row has: other"});
  }
  RunConfig config = tiny.grpo();
  config.data.max_prompt_length = 2;
  expect_contains(refusal(config), {"train.jsonl: none of the 20 prompts fits in 2 tokens"});
  config = tiny.grpo();
  config.grpo.loss.max_completion_length = 128;
  expect_contains(refusal(config), {"max_completion_length", "leave no room", "context of 128"});
  config = tiny.sft();
  config.sft.max_length = 3;
  expect_contains(refusal(config), {"train.jsonl:1", "sft.max_length"});
  config.sft.drop_long = true;
  expect_contains(refusal(config), {"none of the 20 rows has at most 3 tokens"});
  config = tiny.grpo();
  config.eval.data = tiny.path("nowhere.jsonl");  // before the training, not after it
  expect_contains(refusal(config), {"nowhere.jsonl"});
}

TEST_F(BadInput, ModelsAndRewardsThatDoNotFitAreRefused) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo();
  Trainer no_reward(config);
  expect_contains(error_of([&] { no_reward.run(); }), {"rewards: expected at least one"});
  EXPECT_FALSE(fs::exists(config.output_dir));
  config = tiny.sft();
  config.eval.data = tiny.path("train.jsonl");
  expect_contains(refusal(config), {"rewards: expected at least one for eval.data"});
  config = tiny.grpo();
  config.model.path = tiny.path("nowhere");
  expect_contains(refusal(config), {"nowhere"});
  ModelConfig small = tiny_model_config();
  small.vocab_size = 39;
  CausalLM::init(small, 1, {}).save(tiny.path("small"), nullptr, DType::Float32);
  config.model.tokenizer = tiny.grpo().model.path;
  config.model.path = tiny.path("small");
  expect_contains(refusal(config), {"39", "40"});
  config = tiny.grpo();
  config.grpo.top_p = 0.9;
  expect_contains(refusal(config), {"grpo.top_p"});
  config = tiny.grpo();
  config.grpo.cache_tokens = 32;
  Trainer trainer = tiny_trainer(config);
  expect_contains(error_of([&] { trainer.step(); }), {"cache_tokens"});
}

}  // namespace
}  // namespace grpo::testing
