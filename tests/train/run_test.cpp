// Whole runs: the files they leave, what they tell the program, minibatches, the reference policy, evaluation.
#include <grpo/train.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "support/tensors.h"
#include "support/tiny_run.h"
#include "support/tolerance.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

using RunFiles = OpsTest;

// A score that comes with its reason.
class WithReasons final : public MixedIds {
 public:
  Verdict judge(const RewardInput& input) const override {
    return {score(input), "mixed", std::to_string(input.token_ids().size()) + " ids"};
  }
};

class Collector final : public MetricSink {
 public:
  explicit Collector(std::vector<std::pair<std::int64_t, Metrics>>& rows) : rows_(rows) {}
  void write(std::int64_t step, const Metrics& metrics) override { rows_.emplace_back(step, metrics); }

 private:
  std::vector<std::pair<std::int64_t, Metrics>>& rows_;
};

// All metrics of `steps` steps, without a folder.
std::vector<Metrics> metrics_of(const RunConfig& config, int steps) {
  Trainer trainer = tiny_trainer(config);
  std::vector<Metrics> result;
  for (int step = 0; step < steps; ++step) result.push_back(trainer.step());
  return result;
}

TEST_F(RunFiles, WritesItsFilesAndTellsTheProgram) {
  const TinyRun run;
  RunConfig config = run.grpo();
  config.log_completions = 3;
  Trainer trainer(config);
  trainer.rewards().add(std::make_unique<WithReasons>());
  std::vector<std::pair<std::int64_t, Metrics>> collected;
  trainer.add_sink(std::make_unique<Collector>(collected));
  std::vector<std::int64_t> rollouts, steps;
  std::vector<RolloutGroup> first;
  trainer.on_rollout([&](const RolloutReport& report) {
    rollouts.push_back(report.step);
    if (first.empty()) first = *report.groups;
  });
  trainer.on_step([&](const StepReport& report) {
    steps.push_back(report.step);
    EXPECT_EQ(report.metrics->at("learning_rate"), 1e-2);
  });
  trainer.run();
  EXPECT_EQ(rollouts, (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2}));

  const std::vector<Json> metrics = read_jsonl(run.path("run/metrics.jsonl"));
  ASSERT_EQ(metrics.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(metrics[i].at("step").as_int(), static_cast<std::int64_t>(i) + 1);
    for (const char* name : {"loss",
                             "grad_norm",
                             "learning_rate",
                             "epoch",
                             "num_tokens",
                             "step_time",
                             "reward",
                             "reward_std",
                             "frac_reward_zero_std",
                             "rewards/mixed_ids/mean",
                             "rewards/mixed_ids/std",
                             "entropy",
                             "completions/mean_length",
                             "completions/min_length",
                             "completions/max_length",
                             "completions/clipped_ratio",
                             "completions/mean_terminated_length",
                             "completions/min_terminated_length",
                             "completions/max_terminated_length",
                             "clip_ratio/low_mean",
                             "clip_ratio/high_mean",
                             "clip_ratio/region_mean",
                             "clip_ratio/low_min",
                             "clip_ratio/high_max"}) {
      ASSERT_TRUE(metrics[i].find(name)) << name;
      EXPECT_TRUE(metrics[i].at(name).is_number()) << name;
    }
    EXPECT_EQ(metrics[i].at("sampling/mismatched_tokens").as_double(), 0);
    EXPECT_EQ(metrics[i].at("loss").as_double(), collected[i].second.at("loss"));
    EXPECT_EQ(collected[i].first, static_cast<std::int64_t>(i) + 1);
  }
  EXPECT_EQ(metrics[1].at("epoch").as_double(), 6.0 / 20);

  // The first rollout's numbers, worked out again from its groups.
  ASSERT_EQ(first.size(), 3u);
  double tokens = 0, all_tokens = 0, reward = 0;
  for (const RolloutGroup& group : first) {
    ASSERT_EQ(group.completions.size(), 4u);
    ASSERT_EQ(group.advantages.size(), 4u);
    for (std::size_t c = 0; c < 4; ++c) {
      tokens += static_cast<double>(group.completions[c].ids.size());
      all_tokens += static_cast<double>(group.completions[c].ids.size() + group.prompt.ids.size());
      reward += group.rewards[c].at(0);
    }
  }
  EXPECT_DOUBLE_EQ(metrics[0].at("completions/mean_length").as_double(), tokens / 12);
  EXPECT_EQ(metrics[0].at("num_tokens").as_double(), all_tokens);
  EXPECT_NEAR(metrics[0].at("reward").as_double(), reward / 12, 1e-15);
  EXPECT_EQ(metrics[0].at("rewards/mixed_ids/mean").as_double(), metrics[0].at("reward").as_double());

  const std::vector<Json> completions = read_jsonl(run.path("run/completions.jsonl"));
  ASSERT_EQ(completions.size(), 2u * 3 * 3);  // steps, groups, the first of each
  for (std::size_t g = 0; g < 3; ++g)
    for (std::size_t c = 0; c < 3; ++c) {
      const Json& line = completions[3 * g + c];
      EXPECT_EQ(line.at("step").as_int(), 1);
      EXPECT_EQ(line.at("id").as_string(), first[g].prompt.id);
      EXPECT_EQ(line.at("prompt").as_string(), first[g].prompt.text);
      EXPECT_EQ(line.at("completion").as_string(), first[g].completions[c].text);
      EXPECT_EQ(line.at("rewards").at("mixed_ids").as_double(), first[g].rewards[c][0]);
      EXPECT_EQ(line.at("verdict").at("mixed_ids").as_string(), "mixed");
      EXPECT_EQ(line.at("why").at("mixed_ids").as_string(), line.at("num_tokens").dump() + " ids");
      EXPECT_EQ(line.at("advantage").as_double(), first[g].advantages[c]);
      EXPECT_EQ(line.at("num_tokens").as_int(), static_cast<std::int64_t>(first[g].completions[c].ids.size()));
    }
  EXPECT_EQ(completions[9].at("step").as_int(), 2);

  EXPECT_EQ(load_tree(run.path("run/config.resolved.yaml")), parse_yaml(to_yaml(config_to_tree(config))));
  EXPECT_FALSE(fs::exists(run.path("run/LOCK")));  // free again, though the trainer lives
  EXPECT_EQ(newest_checkpoint(run.path("run")), 2);
  EXPECT_FALSE(fs::exists(run.path("run/checkpoints/step-1")));
  const CausalLM saved = CausalLM::load(resolve_model_path(run.path("run")), {});
  for (const Parameter* parameter : trainer.model().parameters())
    EXPECT_TRUE(bit_equal(get_values(saved.parameter(parameter->name)), get_values(*parameter)));
  EXPECT_EQ(Tokenizer::load(resolve_model_path(run.path("run"))).vocab_size(), 40);

  // A step afterwards leaves the folder alone.
  trainer.step();
  EXPECT_EQ(read_jsonl(run.path("run/completions.jsonl")).size(), 18u);
}

TEST_F(RunFiles, LearningRatesFollowTheSchedule) {
  const TinyRun run;
  RunConfig config = run.grpo(4);
  config.optimizer.schedule = Schedule::Cosine;
  config.optimizer.warmup_steps = 1;
  const std::vector<Metrics> metrics = metrics_of(config, 4);
  for (int step = 0; step < 4; ++step)
    EXPECT_EQ(metrics[static_cast<std::size_t>(step)].at("learning_rate"), learning_rate_at(config.optimizer, step, 4));
}

// One rollout serves 2 minibatches x 2 iterations; only its first update is on policy.
TEST_F(RunFiles, MinibatchesAndIterationsUseTheSamplersLogprobs) {
  const TinyRun run;
  for (const MinibatchSplit split : {MinibatchSplit::Groups, MinibatchSplit::Completions}) {
    RunConfig config = run.grpo(8);
    config.grpo.prompts_per_step = 2;
    config.grpo.steps_per_generation = 2;
    config.grpo.num_iterations = 2;
    config.grpo.minibatch_split = split;
    const std::vector<Metrics> metrics = metrics_of(config, 8);
    for (std::size_t step = 0; step < 8; ++step) {
      const Metrics& now = metrics[step];
      const bool is_first = step % 4 == 0;
      EXPECT_EQ(now.contains("reward"), is_first) << step;
      EXPECT_EQ(now.contains("sampling/mismatched_tokens"), is_first) << step;
      EXPECT_EQ(now.at("ratio/min") == 1 && now.at("ratio/max") == 1, is_first) << step;
      EXPECT_EQ(now.at("epoch"), (step < 4 ? 4.0 : 8.0) / 20);
    }
  }
}

TEST_F(RunFiles, MinibatchesOfGroupsKeepAPromptsAnswersTogether) {
  const TinyRun run;
  RunConfig config = run.grpo(2);
  config.grpo.prompts_per_step = 2;
  config.grpo.steps_per_generation = 2;
  // With the rate at 0 the second minibatch sees the first one's weights, so both splits add up to the same loss sum.
  config.optimizer.learning_rate = 0;
  std::vector<double> norms;
  for (const MinibatchSplit split : {MinibatchSplit::Groups, MinibatchSplit::Completions}) {
    config.grpo.minibatch_split = split;
    const std::vector<Metrics> metrics = metrics_of(config, 2);
    EXPECT_EQ(metrics[1].at("ratio/min"), 1);
    EXPECT_EQ(metrics[1].at("ratio/max"), 1);
    // Advantages of a group add up to 0, so with whole groups the loss -mean(A) is 0; a random half's is not.
    const bool is_zero = std::abs(metrics[0].at("loss")) < 1e-12;
    EXPECT_EQ(is_zero, split == MinibatchSplit::Groups) << metrics[0].at("loss");
    EXPECT_NEAR(metrics[0].at("loss") + metrics[1].at("loss"), 0, 1e-12);
    norms.push_back(metrics[0].at("grad_norm"));
  }
  EXPECT_NE(norms[0], norms[1]);
}

TEST_F(RunFiles, TheReferenceStaysUnlessItIsReplaced) {
  const TinyRun run;
  RunConfig config = run.grpo(3);
  config.grpo.loss.beta = 0.1;
  std::vector<Metrics> metrics = metrics_of(config, 3);
  EXPECT_EQ(metrics[0].at("kl"), 0);
  EXPECT_GT(metrics[1].at("kl"), 0);
  EXPECT_GT(metrics[2].at("kl"), 0);
  config.grpo.ref_sync_steps = 2;  // after step 2 it is the policy
  metrics = metrics_of(config, 3);
  EXPECT_GT(metrics[1].at("kl"), 0);
  EXPECT_EQ(metrics[2].at("kl"), 0);
}

TEST_F(RunFiles, TheReferenceMovesByItsShare) {
  const TinyRun run;
  RunConfig config = run.grpo(1);
  config.grpo.loss.beta = 0.1;
  config.grpo.ref_sync_steps = 1;
  config.grpo.ref_mixup_alpha = 0.25;
  Trainer trainer = tiny_trainer(config);
  const std::vector<NamedTensor> start = weights_of(trainer.model());
  trainer.run();
  const std::vector<NamedTensor> end = weights_of(trainer.model());
  std::map<std::string, at::Tensor> reference;
  for (NamedTensor& entry : load_safetensors(run.path("run/checkpoints/step-1/reference.safetensors")))
    reference[entry.name] = entry.tensor;
  ASSERT_EQ(reference.size(), start.size());
  for (std::size_t p = 0; p < start.size(); ++p) {
    const at::Tensor a = start[p].tensor.to(at::kDouble), b = end[p].tensor.to(at::kDouble);
    // Three roundings: two products and their sum.
    EXPECT_TRUE(within(reference.at(start[p].name), 0.75 * a + 0.25 * b,
                       2 * unit_roundoff(at::kFloat) * (0.75 * a.abs() + 0.25 * b.abs())));
    EXPECT_FALSE(bit_equal(start[p].tensor, end[p].tensor)) << "the policy moved";
  }
}

TEST_F(RunFiles, EvaluatesAtItsIntervalAndAtTheEnd) {
  const TinyRun run;
  for (int i = 0; i < 5; ++i) run.add_row(i, 9, "eval.jsonl");
  RunConfig config = run.grpo(5);
  config.eval = {.data = run.path("eval.jsonl"), .every = 2, .max_prompts = 3};
  Trainer trainer = tiny_trainer(config);
  trainer.run();
  std::vector<std::int64_t> with_eval;
  for (const Json& line : read_jsonl(run.path("run/metrics.jsonl")))
    if (line.find("eval_reward")) with_eval.push_back(line.at("step").as_int());
  EXPECT_EQ(with_eval, (std::vector<std::int64_t>{2, 4, 5}));
  const Metrics first = trainer.evaluate(), second = trainer.evaluate();
  EXPECT_EQ(first, second);
  EXPECT_TRUE(first.contains("eval_rewards/mixed_ids/mean"));
  EXPECT_TRUE(first.contains("eval_completions/mean_length"));
  EXPECT_EQ(read_jsonl(run.path("run/metrics.jsonl")).back().at("eval_reward").as_double(), first.at("eval_reward"));
}

TEST_F(RunFiles, EvaluationDoesNotChangeTraining) {
  const TinyRun run;
  run.add_row(1, 9, "eval.jsonl");
  RunConfig config = run.grpo(2);
  const std::vector<Metrics> want = metrics_of(config, 2);
  config.eval = {.data = run.path("eval.jsonl"), .every = 1, .num_generations = 3, .temperature = 1.0};
  Trainer trainer = tiny_trainer(config);
  EXPECT_EQ(without_times(trainer.step()), without_times(want[0]));
  trainer.evaluate();
  EXPECT_EQ(without_times(trainer.step()), without_times(want[1]));
}

}  // namespace
}  // namespace grpo::testing
