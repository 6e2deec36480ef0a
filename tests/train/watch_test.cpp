// What a run leaves to be watched by: phases, throughput, invariants, measures of text, environment, trace.
#include <grpo/train.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "support/tensors.h"
#include "support/tiny_run.h"
#include "train/environment.h"
#include "train/invariants.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

using Watch = OpsTest;

RolloutGroup group_of(std::vector<std::size_t> lengths, FinishReason finish_reason = FinishReason::Stop) {
  RolloutGroup group;
  group.prompt.ids = {1, 2};
  for (const std::size_t length : lengths) {
    Completion completion;
    completion.ids.assign(length, 5);
    completion.logprobs.assign(length, -1.0F);
    completion.finish_reason = finish_reason;
    group.completions.push_back(completion);
    group.advantages.push_back(0);
    group.included.push_back(1);
  }
  return group;
}

std::vector<AnswerRef> answers_of(const std::vector<RolloutGroup>& groups) {
  std::vector<AnswerRef> answers;
  for (const RolloutGroup& group : groups)
    for (std::size_t c = 0; c < group.completions.size(); ++c) answers.push_back({&group, c});
  return answers;
}

TEST(Invariants, IncompleteGroupsLackScoredAnswers) {
  std::vector<RolloutGroup> groups = {group_of({3, 4}), group_of({3, 4})};
  EXPECT_EQ(incomplete_groups(groups, 2), 0);
  groups[1].included[0] = 0;
  EXPECT_EQ(incomplete_groups(groups, 2), 1);
  EXPECT_EQ(incomplete_groups(groups, 3), 2);
}

TEST(Invariants, AdvantagesOfAGroupAddUpToZero) {
  std::vector<RolloutGroup> groups = {group_of({3, 4}), group_of({3, 4})};
  groups[0].advantages = {-0.5, 0.5};
  EXPECT_EQ(largest_advantage_sum(groups), 0);
  groups[1].advantages = {-0.75, 0.5};
  EXPECT_EQ(largest_advantage_sum(groups), 0.25);
  EXPECT_EQ(largest_advantage_sum({}), 0);
}

TEST(Invariants, MasksCountTheTokensOfAnswersThatCount) {
  std::vector<RolloutGroup> groups = {group_of({3, 4}), group_of({5, 6}, FinishReason::Length)};
  groups[0].included[0] = 0;
  for (const bool mask_truncated : {false, true}) {
    std::vector<PackedBatch> batches = pack(groups, {.mask_truncated = mask_truncated});
    EXPECT_EQ(mask_sum_error(count_denominators(batches).tokens, answers_of(groups), mask_truncated), 0);
    EXPECT_EQ(mask_sum_error(count_denominators(batches).tokens, answers_of(groups), !mask_truncated), 11);
    batches[0].mask[0] ^= 1;
    EXPECT_EQ(mask_sum_error(count_denominators(batches).tokens, answers_of(groups), mask_truncated), 1);
    batches.pop_back();
    EXPECT_EQ(mask_sum_error(count_denominators(batches).tokens, answers_of(groups), mask_truncated),
              mask_truncated ? 4 : 15);
  }
}

TEST_F(Watch, TimesOfPhasesAreInsideTheStep) {
  const TinyRun run;
  run.add_row(1, 9, "eval.jsonl");
  RunConfig config = run.grpo(3);
  config.grpo.loss.beta = 0.1;
  config.grpo.num_iterations = 2;
  config.save_every = 1;
  config.eval = {.data = run.path("eval.jsonl"), .every = 2};
  tiny_trainer(config).run();
  const std::vector<Json> steps = read_jsonl(run.path("run/metrics.jsonl"));
  ASSERT_EQ(steps.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto seconds = [&](const std::string& name) {
      const Json* value = steps[i].find("time/" + name);
      return value == nullptr ? 0.0 : value->as_double();
    };
    const bool rolls_out = i != 1;
    EXPECT_EQ(seconds("rollout/sampling") > 0, rolls_out);
    EXPECT_EQ(steps[i].find("throughput/rollout/sampling") != nullptr, rolls_out);
    EXPECT_GT(steps[i].at("throughput/update").as_double(), 0);
    EXPECT_LE(seconds("rollout/sampling") + seconds("rollout/scoring") + seconds("rollout/advantages"),
              seconds("rollout"));
    EXPECT_GT(seconds("update/forward"), 0);
    EXPECT_GT(seconds("update/reference"), 0);
    EXPECT_GT(seconds("update/backward"), 0);
    EXPECT_LE(seconds("update/forward") + seconds("update/backward") + seconds("update/reference"), seconds("update"));
    EXPECT_LE(seconds("rollout") + seconds("update") + seconds("reduction") + seconds("optimizer"),
              steps[i].at("step_time").as_double());
    EXPECT_EQ(seconds("evaluation") > 0, i >= 1) << i;
    EXPECT_EQ(seconds("evaluation/sampling") > 0, i >= 1) << i;
  }
  // A checkpoint counts for the step behind it.
  EXPECT_EQ(steps[0].find("time/checkpoint"), nullptr);
  EXPECT_GT(steps[2].at("time/checkpoint").as_double(), 0);
  // As many tokens per second as there were.
  const Json& first = steps[0];
  EXPECT_NEAR(first.at("throughput/rollout/sampling").as_double() * first.at("time/rollout/sampling").as_double(),
              12 * first.at("completions/mean_length").as_double(), 1e-6);
}

// A weight that moves between sampling and update, a reward that cannot score: both show.
class Silent final : public MixedIds {
 public:
  double score(const RewardInput& input) const override {
    return input.step() == 1 && calls_++ == 0 ? std::nan("") : MixedIds::score(input);
  }

 private:
  mutable std::atomic<int> calls_{0};
};

TEST_F(Watch, BrokenInvariantsShow) {
  const TinyRun run;
  RunConfig config = run.grpo(3);
  config.grpo.check_on_policy = CheckOnPolicy::Off;
  Trainer trainer(config);
  trainer.rewards().add(std::make_unique<Silent>());
  trainer.on_rollout([&](const RolloutReport& report) {
    if (report.step != 2) return;
    Parameter& parameter = trainer.model().parameter("model.layers.1.mlp.up_proj.weight");
    set_values(parameter, get_values(parameter) * 1.01);
  });
  for (int step = 0; step < 3; ++step) {
    const Metrics metrics = trainer.step();
    EXPECT_EQ(metrics.at("invariants/incomplete_groups"), step == 1 ? 1 : 0);
    EXPECT_EQ(metrics.at("invariants/mask_sum_error"), 0);
    // Four summands of at most sqrt(3) each, each with a few roundings.
    EXPECT_LT(metrics.at("invariants/advantage_sum"), 1e-14);
    EXPECT_EQ(metrics.at("invariants/ratio_drift") > 0, step == 2);
    EXPECT_EQ(metrics.at("sampling/mismatched_tokens") > 0, step == 2);
  }
}

TEST_F(Watch, TextsAreMeasured) {
  const TinyRun run;
  run.add_row(1, 9, "eval.jsonl");
  RunConfig config = run.grpo(1);
  config.eval.data = run.path("eval.jsonl");
  Trainer trainer = tiny_trainer(config);
  const Metrics step = trainer.step(), evaluation = trainer.evaluate();
  for (const char* name : {"completions/reflective_words", "completions/repetition", "completions/language_mixing"}) {
    EXPECT_GE(step.at(name), 0) << name;
    EXPECT_GE(evaluation.at(std::string("eval_") + name), 0) << name;
  }
}

TEST_F(Watch, LeavesFilesToBeWatchedBy) {
  const TinyRun run;
  RunConfig config = run.grpo(2);
  config.trace = true;
  tiny_trainer(config).run();
  const std::string prometheus = read_file(run.path("run/metrics.prom"));
  EXPECT_NE(prometheus.find("\ngrpo_step{run=\"tiny\"} 2\n"), std::string::npos) << prometheus;
  EXPECT_NE(prometheus.find("\ngrpo_rewards_mixed_ids_mean{run=\"tiny\"} 0."), std::string::npos) << prometheus;

  const std::string trace = read_file(run.path("run/trace.json"));
  const std::vector<Json> events = parse_json(trace.substr(0, trace.size() - 2) + "]").as_list();
  std::map<std::string, int> spans;
  for (const Json& event : events)
    if (const Json* path = event.find("cat")) ++spans[path->as_string()];
  for (const char* path : {"rollout", "rollout/sampling", "rollout/scoring", "update/backward", "optimizer"})
    EXPECT_EQ(spans[path], 2) << path;
  EXPECT_EQ(spans["checkpoint"], 1);

  const Json where = parse_json(read_file(run.path("run/environment.json")));
  EXPECT_EQ(where.at("threads"), Json(1));
  EXPECT_EQ(where.at("ranks"), Json(1));
  EXPECT_EQ(where.at("recompute"), Json(false));
  EXPECT_EQ(where.at("started").as_string().size(), std::string("2026-01-01T00:00:00Z").size());
  for (const char* name : {"grpo", "compiler", "libtorch", "kernels", "cpu", "os"})
    EXPECT_FALSE(where.at(name).as_string().empty()) << name;
  EXPECT_NE(read_file(run.path("run/report.html")).find("<summary>Environment</summary>"), std::string::npos);

  config.output_dir = run.path("untraced");
  config.trace = false;
  tiny_trainer(config).run();
  EXPECT_FALSE(fs::exists(run.path("untraced/trace.json")));
}

// docs/watching.md has a row for each metric that a run can have.
TEST_F(Watch, TheDocumentNamesEveryMetric) {
  const std::string document = read_file(std::string(GRPO_SOURCE_DIR) + "/docs/watching.md");
  const TinyRun run;
  run.add_row(1, 9, "eval.jsonl");
  RunConfig grpo = run.grpo(4), sft = run.sft(2);
  grpo.grpo.loss.beta = 0.1;
  grpo.save_every = 1;
  grpo.eval = {.data = run.path("eval.jsonl"), .every = 1};
  sft.output_dir = run.path("sft");
  std::size_t num_checked = 0;
  for (const RunConfig& config : {grpo, sft}) {
    Trainer trainer(config);
    if (config.kind == RunKind::Grpo) trainer.rewards().add(std::make_unique<Silent>());
    trainer.on_step([&](const StepReport& report) {
      for (const auto& [name, value] : *report.metrics) {
        std::string row = "| `" + name.substr(name.starts_with("eval_") ? 5 : 0) + "` |";
        if (const std::size_t at = row.find("mixed_ids"); at != std::string::npos) row.replace(at, 9, "<name>");
        EXPECT_NE(document.find(row), std::string::npos) << row;
        ++num_checked;
      }
    });
    trainer.run();
  }
  EXPECT_GT(num_checked, 4U * 40);
}

TEST(Environment, NamesNoPlaceAndNoPerson) {
  const std::string text = environment().dump();
  EXPECT_EQ(text.find("\"/"), std::string::npos) << text;  // no value is a path
  for (const char* variable : {"USER", "HOSTNAME", "HOME"})
    if (const char* value = std::getenv(variable); value != nullptr && std::string(value).size() > 3) {
      EXPECT_EQ(text.find(value), std::string::npos) << variable;
    }
}

}  // namespace
}  // namespace grpo::testing
