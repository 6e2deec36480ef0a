// A resumed run is the run: from any step, inside a rollout, and what is kept for it.
#include <grpo/train.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <limits>
#include <set>

#include "support/tensor_bytes.h"
#include "support/tensors.h"
#include "support/tiny_run.h"
#include "train/checkpoint.h"
#include "train/resumed_run.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

using Resume = OpsTest;

// As a kill does, when the rollout of `step` (from 0) has been scored and nothing has come of it.
void run_until_scored(Trainer trainer, std::int64_t step) {
  trainer.on_rollout([step](const RolloutReport& report) {
    if (report.step == step) throw Error("killed");
  });
  EXPECT_EQ(error_of([&] { trainer.run(); }), "killed");
}

class Constant : public Reward {
 public:
  std::string_view name() const override { return "constant"; }
  double score(const RewardInput&) const override { return 0; }
};

std::vector<Json> metrics_without_times(const std::string& folder) {
  std::vector<Json> rows = read_jsonl(folder + "/metrics.jsonl");
  for (Json& row : rows) std::erase_if(row.as_object(), [](const auto& entry) { return is_time(entry.first); });
  return rows;
}

// Weights, moments, reference and state, to the byte; metrics but for times; completions.
void expect_same_run(const std::string& a, const std::string& b, std::int64_t step) {
  const std::string checkpoint = "/checkpoints/step-" + std::to_string(step) + "/";
  for (const char* name :
       {"model.safetensors", "optimizer.safetensors", "reference.safetensors", "rollout", "state.json"}) {
    ASSERT_EQ(fs::exists(a + checkpoint + name), fs::exists(b + checkpoint + name)) << name;
    if (fs::exists(a + checkpoint + name)) {
      EXPECT_TRUE(read_file(a + checkpoint + name) == read_file(b + checkpoint + name)) << name;
    }
  }
  EXPECT_EQ(metrics_without_times(a), metrics_without_times(b));
  ASSERT_EQ(fs::exists(a + "/completions.jsonl"), fs::exists(b + "/completions.jsonl"));
  if (fs::exists(a + "/completions.jsonl")) {
    EXPECT_EQ(read_file(a + "/completions.jsonl"), read_file(b + "/completions.jsonl"));
  }
}

TEST_F(Resume, AStoppedRunGoesOnAsIfItHadNot) {
  const TinyRun tiny;
  for (RunConfig config : {with_reference(tiny.grpo(5)), tiny.sft(5)}) {
    config.output_dir = tiny.path(config.kind == RunKind::Grpo ? "grpo-whole" : "sft-whole");
    run(config);
    const std::string whole = config.output_dir;
    config.output_dir += "-parts";
    run(config, Trainer::Start::Fresh, 2);
    EXPECT_EQ(newest_checkpoint(config.output_dir), 2);
    run(config, Trainer::Start::Resume, 3);
    EXPECT_EQ(newest_checkpoint(config.output_dir), 3);
    run(config, Trainer::Start::Resume);
    expect_same_run(whole, config.output_dir, 5);
  }
}

TEST_F(Resume, ARunCanBeMadeLonger) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(4);
  run(config);
  config.output_dir = tiny.path("parts");
  config.max_steps = 2;
  run(config);
  config.max_steps = 4;
  config.save_every = 1;  // may change as well
  config.log_completions = 4;
  config.train.recompute = Recompute::On;
  const std::string saved = read_file(tiny.path("parts/config.resolved.yaml"));
  const std::size_t section = saved.find("train:\n  recompute: auto\n");
  ASSERT_NE(section, std::string::npos) << saved;
  tiny.write("parts/config.resolved.yaml", std::string(saved).erase(section, 25));  // of a version without it
  run(config, Trainer::Start::Resume);
  EXPECT_EQ(parse_json(read_file(tiny.path("parts/environment.json"))).at("recompute"), Json(true));
  expect_same_run(tiny.path("run"), config.output_dir, 4);
}

// A killed run leaves records of steps after its last checkpoint, a line cut short and half a checkpoint.
TEST_F(Resume, ForgetsWhatCameAfterTheCheckpoint) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(4);
  run(config);
  config.output_dir = tiny.path("killed");
  config.save_every = 2;
  {
    Trainer trainer = tiny_trainer(config);
    trainer.on_step([](const StepReport& report) {
      if (report.step == 3) throw Error("killed");
    });
    error_of([&] { trainer.run(); });
  }
  EXPECT_EQ(read_jsonl(tiny.path("killed/metrics.jsonl")).size(), 3u);
  tiny.write("killed/metrics.jsonl", read_file(tiny.path("killed/metrics.jsonl")) + "{\"step\": 4, \"lo");
  fs::create_directories(tiny.path("killed/checkpoints/step-3.partial"));
  fs::create_directories(tiny.path("killed/checkpoints/step-1.deleted"));
  tiny.write("killed/config.resolved.yaml.new-12-0", "name: ti");
  tiny.write("killed/rollouts/step-4.new-12-0", "half");
  fs::create_directories(tiny.path("killed/checkpoints/step-9"));  // no state.json: not whole
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 4);
  for (const auto& entry : fs::recursive_directory_iterator(config.output_dir)) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(name.find(".new-") == name.npos && !name.ends_with(".partial") && !name.ends_with(".deleted")) << name;
  }
}

TEST_F(Resume, StartsAnewWithoutACheckpoint) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(2);
  run(config);
  config.output_dir = tiny.path("early");
  {
    Trainer trainer = tiny_trainer(config);
    trainer.on_step([](const StepReport&) { throw Error("killed"); });
    error_of([&] { trainer.run(); });
  }
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 2);
}

TEST_F(Resume, AFinishedRunStaysAsItIs) {
  const TinyRun tiny;
  const RunConfig config = tiny.grpo(2);
  run(config);
  const std::string state = tiny.path("run/checkpoints/step-2/state.json");
  const auto written = fs::last_write_time(state);
  run(config, Trainer::Start::Resume);
  EXPECT_EQ(fs::last_write_time(state), written);
  EXPECT_EQ(read_jsonl(tiny.path("run/metrics.jsonl")).size(), 2u);
}

// The plan's part `copies`: a checkpoint is read one tensor at a time.
TEST_F(Resume, TakesLittleMemoryBesideTheRun) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(1);
  ModelConfig model = tiny_model_config();
  model.hidden_size = 256;
  model.num_layers = 4;
  const Tokenizer tokenizer = tiny_tokenizer();
  CausalLM::init(model, 1, {}).save(tiny.path("wide"), &tokenizer, DType::Float32);
  config.model.path = tiny.path("wide");
  run(config);
  CausalLM policy = CausalLM::load(config.model.path, {.trainable = true});
  Optimizer optimizer(policy.parameters(), config.optimizer, 1);
  std::int64_t largest = 0;
  for (const Parameter* parameter : policy.parameters()) largest = std::max(largest, parameter->elements());
  const auto bytes = std::make_shared<TensorBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
  load_checkpoint(tiny.path("run/checkpoints/step-1"), policy, optimizer, nullptr);
  EXPECT_LE(bytes->peak, 8 * largest + 4096);
  EXPECT_GT(4 * num_parameters(model), 2 * bytes->peak) << "the model is large enough to tell";
}

// Two minibatches twice: a rollout serves four steps, and checkpoints fall inside it. The reference follows after each.
RunConfig with_long_rollouts(RunConfig config) {
  config = with_reference(config);
  config.grpo.ref_sync_steps = 4;
  config.grpo.prompts_per_step = 1;
  config.grpo.steps_per_generation = 2;
  config.grpo.num_iterations = 2;
  return config;
}

std::set<std::string> checkpoints_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder + "/checkpoints")) names.insert(entry.path().filename());
  return names;
}

TEST_F(Resume, GoesOnInsideARollout) {
  const TinyRun tiny;
  for (const MinibatchSplit split : {MinibatchSplit::Groups, MinibatchSplit::Completions}) {
    RunConfig config = with_long_rollouts(tiny.grpo(10));
    config.grpo.minibatch_split = split;
    config.output_dir = tiny.path("whole-" + std::to_string(static_cast<int>(split)));
    const std::string whole = config.output_dir;
    run(config);
    for (std::int64_t stop = 1; stop < 10; ++stop) {
      config.output_dir = whole + "-" + std::to_string(stop);
      run(config, Trainer::Start::Fresh, stop);
      ASSERT_EQ(newest_checkpoint(config.output_dir), stop);
      EXPECT_EQ(fs::exists(config.output_dir + "/checkpoints/step-" + std::to_string(stop) + "/rollout"),
                stop % 4 != 0);
      run(config, Trainer::Start::Resume);
      expect_same_run(whole, config.output_dir, 10);
    }
  }
}

TEST_F(Resume, ARolloutInFlightMustFitTheRun) {
  const TinyRun tiny;
  RunConfig config = with_long_rollouts(tiny.grpo(2));
  config.optimizer.schedule = Schedule::Constant;  // a rate that the length does not matter to
  run(config);
  config.max_steps = 4;
  config.grpo.num_iterations = 1;
  const std::string error =
      error_of([&] { tiny_trainer(config).run(Trainer::Start::Resume, {"grpo.num_iterations"}); });
  EXPECT_NE(error.find("inside a rollout of 4 minibatches, now it would have 2"), std::string::npos) << error;
  config.grpo.num_iterations = 2;
  Trainer trainer = tiny_trainer(config);
  trainer.rewards().add(std::make_unique<Constant>());
  const std::string other = error_of([&] { trainer.run(Trainer::Start::Resume); });
  EXPECT_NE(other.find("rewards: the checkpoint lies inside a rollout that [\"mixed_ids\"] scored"), std::string::npos)
      << other;
}

// ---- the journal ----------------------------------------------------------------------------------------------------

// Never the same twice, as a judge or a program's time: what is scored again has another score.
class Clock : public Reward {
 public:
  static inline std::atomic<int> calls = 0;
  std::string_view name() const override { return "clock"; }
  double score(const RewardInput&) const override {
    const int call = calls++;
    return call % 5 == 4 ? std::numeric_limits<double>::quiet_NaN() : (call * 7 % 13) / 13.0;
  }
};

Trainer clock_trainer(RunConfig config) {
  Trainer trainer(std::move(config));
  trainer.rewards().add(std::make_unique<Clock>());
  return trainer;
}

TEST_F(Resume, WhatWasScoredIsNeverScoredAgain) {
  const TinyRun tiny;
  RunConfig config = with_long_rollouts(tiny.grpo(10));
  config.save_every = 5;
  Clock::calls = 0;
  clock_trainer(config).run();
  const int all = Clock::calls;
  EXPECT_EQ(all, 3 * 2 * 4);
  EXPECT_TRUE(fs::is_empty(tiny.path("run/rollouts"))) << "checkpoints cover them";
  for (const std::int64_t step : {0, 4, 8}) {
    config.output_dir = tiny.path("killed-" + std::to_string(step));
    Clock::calls = 0;
    run_until_scored(clock_trainer(config), step);
    EXPECT_TRUE(fs::exists(config.output_dir + "/rollouts/step-" + std::to_string(step + 1)));
    clock_trainer(config).run(Trainer::Start::Resume);
    EXPECT_EQ(Clock::calls, all) << step;
    expect_same_run(tiny.path("run"), config.output_dir, 10);
  }
}

TEST_F(Resume, ARolloutOnDiskMustBeWholeAndWritten) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(3);
  run(config);
  config.output_dir = tiny.path("killed");
  run_until_scored(tiny_trainer(config), 1);
  const std::string path = "killed/rollouts/step-2", bytes = read_file(tiny.path(path));
  tiny.write(path, bytes.substr(0, bytes.size() / 2));
  EXPECT_NE(resume_error(config).find(tiny.path(path) + ": damaged"), std::string::npos);
  fs::remove(tiny.path(path));
  tiny.write("killed/rollouts/step-1", bytes);  // another step's is no such rollout
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 3);

  config.output_dir = tiny.path("blocked");
  fs::create_directories(config.output_dir);
  tiny.write("blocked/rollouts", "a file in the folder's place");
  EXPECT_NE(error_of([&] { run(config); }).find("cannot make folder \"" + tiny.path("blocked/rollouts")),
            std::string::npos);
  EXPECT_FALSE(fs::exists(tiny.path("blocked/checkpoints"))) << "no update without its record";
}

TEST_F(Resume, ARolloutOfAnotherConfigIsSampledAgain) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(2);
  config.grpo.temperature = 0.7;
  run(config);
  config.output_dir = tiny.path("changed");
  config.grpo.temperature = 1;
  run_until_scored(tiny_trainer(config), 0);
  config.grpo.temperature = 0.7;
  resume_with(config, {"grpo.temperature"});
  expect_same_run(tiny.path("run"), config.output_dir, 2);
}

// ---- what is kept ---------------------------------------------------------------------------------------------------

RunConfig with_evaluation(const TinyRun& tiny, int max_steps) {
  RunConfig config = tiny.grpo(max_steps);
  for (int i = 0; i < 4; ++i) tiny.add_row(i, 2 * i, "held-out.jsonl");
  config.eval.data = tiny.path("held-out.jsonl");
  config.eval.every = 1;
  config.eval.num_generations = 2;
  config.eval.temperature = 1;
  return config;
}

Json best_of(const std::string& folder) { return parse_json(read_file(folder + "/best.json")); }

TEST_F(Resume, KeepsTheNewestCheckpointsAndTheBest) {
  const TinyRun tiny;
  for (const std::string best : {"eval_reward", "-eval_reward"}) {
    RunConfig config = with_evaluation(tiny, 8);
    config.eval.best = best;
    config.save_every = 1;
    config.keep_checkpoints = 2;
    config.output_dir = tiny.path("run" + best);
    run(config);
    std::int64_t best_step = 0;
    double best_value = 0;
    for (const Json& row : read_jsonl(config.output_dir + "/metrics.jsonl")) {
      const double value = row.at("eval_reward").as_double();
      if (best_step != 0 && !(best[0] == '-' ? value < best_value : value > best_value)) continue;
      best_step = row.at("step").as_int();
      best_value = value;
    }
    EXPECT_EQ(best_of(config.output_dir), (Json::Object{{"step", best_step}, {"metric", best}, {"value", best_value}}));
    EXPECT_EQ(checkpoints_in(config.output_dir),
              (std::set<std::string>{"step-7", "step-8", "step-" + std::to_string(best_step)}));
    EXPECT_EQ(best_checkpoint_path(config.output_dir),
              config.output_dir + "/checkpoints/step-" + std::to_string(best_step));
  }
  RunConfig config = with_evaluation(tiny, 3);
  config.save_every = 1;
  run(config);
  EXPECT_EQ(checkpoints_in(config.output_dir).size(), 3u) << "0 keeps all";
  EXPECT_NE(error_of([&] { best_checkpoint_path(config.output_dir); }).find("best.json"), std::string::npos);
  config.eval.best = "eval_rewards";
  EXPECT_NE(resume_error(config).find("eval.best: expected one of eval_completions/"), std::string::npos);
}

// Rewards rise: the greatest is found late, the least before the run is stopped.
TEST_F(Resume, TheBestStepIsThatOfTheWholeRun) {
  const TinyRun tiny;
  RunConfig config = with_evaluation(tiny, 8);
  config.save_every = 3;
  config.keep_checkpoints = 1;
  for (const std::string best : {"eval_reward", "-eval_reward"}) {
    config.eval.best = best;
    const std::string whole = tiny.path("whole" + best), parts = tiny.path("parts" + best);
    config.output_dir = whole;
    run(config);
    config.output_dir = parts;
    run(config, Trainer::Start::Fresh, 2);
    run(config, Trainer::Start::Resume, 5);
    fs::remove(parts + "/best.json");  // killed between checkpoint and file
    run(config, Trainer::Start::Resume);
    EXPECT_EQ(best_of(parts), best_of(whole));
    EXPECT_EQ(checkpoints_in(parts), checkpoints_in(whole));
    expect_same_run(whole, parts, 8);
  }
}

// Fails in evaluations while it is told to.
class Fussy : public MixedIds {
 public:
  static inline bool fails = false;
  double score(const RewardInput& input) const override {
    GRPO_CHECK(!(fails && input.is_evaluation()), "fussy");
    return MixedIds::score(input);
  }
};

TEST_F(Resume, AnEvaluationThatFailedIsMadeUpFor) {
  const TinyRun tiny;
  RunConfig config = with_evaluation(tiny, 4);
  config.eval.every = 2;
  config.eval.best = "eval_reward";
  const auto fussy = [&](Trainer::Start start) {
    Trainer trainer(config);
    trainer.rewards().add(std::make_unique<Fussy>());
    trainer.run(start);
  };
  Fussy::fails = false;
  fussy(Trainer::Start::Fresh);
  config.output_dir = tiny.path("failed");
  Fussy::fails = true;
  error_of([&] { fussy(Trainer::Start::Fresh); }, ErrorKind::Guard);
  EXPECT_EQ(newest_checkpoint(config.output_dir), 2);
  EXPECT_EQ(read_jsonl(tiny.path("failed/metrics.jsonl")).size(), 1u);
  error_of([&] { fussy(Trainer::Start::Resume); }, ErrorKind::Guard);
  Fussy::fails = false;
  fussy(Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 4);
  EXPECT_EQ(read_file(tiny.path("failed/checkpoints/step-2/state.json")),
            read_file(tiny.path("run/checkpoints/step-2/state.json")));
}

}  // namespace
}  // namespace grpo::testing
