#include <grpo/config.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error_text.h"
#include "base/files.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

class Config : public testing::Test {
 protected:
  RunConfig load(const std::string& text, const std::vector<std::string>& overrides = {},
                 Command command = Command::Train) {
    write_file_atomic(file_, text);
    return load_config(file_, overrides, command);
  }
  // The complaint, with the file's folder taken away.
  std::string complaint(const std::string& text, const std::vector<std::string>& overrides = {},
                        Command command = Command::Train) {
    std::string message = error_text([&] { load(text, overrides, command); });
    for (std::size_t at; (at = message.find(folder_ + "/")) != message.npos;) message.erase(at, folder_.size() + 1);
    return message;
  }

  ScratchFolder scratch_;
  const std::string folder_ = scratch_.path(), file_ = scratch_ / "r.yaml";
};

const std::string kMinimal = "model: {path: m}\ndata: {train: d.jsonl}\nrewards: [{name: accuracy}]\n";

TEST_F(Config, DefaultsAreThoseOfTheContract) {
  const RunConfig config = load(kMinimal);
  EXPECT_EQ(config.grpo.loss.loss_type, LossType::Grpo);
  EXPECT_EQ(config.grpo.loss.importance_sampling_level, RatioLevel::Token);
  EXPECT_EQ(config.grpo.loss.epsilon, 0.2);
  EXPECT_FALSE(config.grpo.loss.epsilon_high.has_value());
  EXPECT_EQ(config.grpo.loss.beta, 0.001);
  EXPECT_EQ(config.grpo.loss.kl_estimator, KlEstimator::K3);
  EXPECT_FALSE(config.grpo.loss.use_bias_correction_kl);
  EXPECT_EQ(config.grpo.num_generations, 8);
  EXPECT_EQ(config.grpo.advantage.scale_rewards, ScaleRewards::Group);
  EXPECT_EQ(config.grpo.advantage.ddof, 1);
  EXPECT_EQ(config.grpo.advantage.eps, 1e-4);
  EXPECT_EQ(config.grpo.num_iterations, 1);
  EXPECT_EQ(config.grpo.temperature, 1);
  EXPECT_EQ(config.grpo.loss.max_completion_length, 512);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-6);
  EXPECT_EQ(config.optimizer.schedule, Schedule::Constant);
  EXPECT_EQ(config.optimizer.beta1, 0.9);
  EXPECT_EQ(config.optimizer.beta2, 0.95);
  EXPECT_EQ(config.optimizer.weight_decay, 0);
  EXPECT_EQ(config.optimizer.max_grad_norm, 1);
  EXPECT_EQ(config.max_failure_fraction, 0.1);
  EXPECT_EQ(config.think, "auto");
  EXPECT_EQ(config.source, file_);
}

TEST_F(Config, ReadsEverySection) {
  const RunConfig config = load(R"(
name: r
seed: 7
max_steps: 60
device: cpu
model: {path: m, dtype: bf16, tokenizer: t}
data: {train: d.jsonl, prompt: question, template: r1_zero, template_variables: {a: 1}, shuffle: false}
rewards:
  - {name: accuracy, weight: 1.0, params: {extract: [anchor, last_number]}}
  - {name: helpful, type: judge, weight: 0.5, when: {source: general}, schedule: {start: 1300}, timeout_s: 5, missing: zero}
  - {name: brevity, plugin: lib/b.so, weight: -0.2}
gates: []
max_failure_fraction: 0.2
think: required
grpo: {num_generations: 4, scale_rewards: none, epsilon_high: 0.28, stop: ["\n", end], loss_type: dr_grpo}
optimizer: {learning_rate: 1.0e-5, schedule: cosine, min_lr_ratio: 0.1}
eval: {data: e.jsonl, every: 10}
)");
  EXPECT_EQ(config.model.dtype, DType::BFloat16);
  EXPECT_EQ(config.model.path, folder_ + "/m");
  EXPECT_EQ(config.model.tokenizer, folder_ + "/t");
  EXPECT_EQ(config.data.train, folder_ + "/d.jsonl");
  EXPECT_EQ(config.data.template_kind, TemplateKind::R1Zero);
  EXPECT_EQ(config.data.template_variables.at("a").as_int(), 1);
  EXPECT_EQ(config.eval.data, folder_ + "/e.jsonl");
  EXPECT_EQ(config.output_dir, "");
  ASSERT_EQ(config.rewards.size(), 3u);
  EXPECT_EQ(config.rewards[0].params.at("extract").size(), 2u);
  EXPECT_EQ(config.rewards[1].type, "judge");
  EXPECT_EQ(config.rewards[1].schedule_start, 1300);
  EXPECT_EQ(config.rewards[1].schedule_end, 0);
  EXPECT_EQ(config.rewards[1].missing, MissingReward::Zero);
  EXPECT_EQ(config.rewards[1].when.at("source").as_string(), "general");
  EXPECT_EQ(config.rewards[2].plugin, folder_ + "/lib/b.so");
  EXPECT_EQ(config.rewards[2].weight, -0.2);
  EXPECT_EQ(config.grpo.loss.epsilon_high, 0.28);
  EXPECT_EQ(config.grpo.stop, (std::vector<std::string>{"\n", "end"}));
  EXPECT_EQ(config.optimizer.schedule, Schedule::Cosine);
}

TEST_F(Config, JsonFilesAreTheSameTree) {
  write_file_atomic(folder_ + "/r.json", R"({ // comment
    "model": {"path": "m"}, "data": {"train": "d.jsonl"}, "rewards": [{"name": "accuracy"}] })");
  EXPECT_EQ(config_to_tree(load_config(folder_ + "/r.json")), config_to_tree(load(kMinimal)));
}

TEST_F(Config, ErrorsNamePlaceFieldExpectedAndGot) {
  EXPECT_EQ(complaint(kMinimal + "grpo:\n  beta: high\n"),
            "r.yaml:5:9: grpo.beta: expected a number >= 0, got \"high\"");
  EXPECT_EQ(complaint(kMinimal + "grpo: {beta: -1}"), "r.yaml:4:14: grpo.beta: expected a number >= 0, got -1");
  EXPECT_EQ(complaint(kMinimal + "grpo: {beta: .nan}"), "r.yaml:4:14: grpo.beta: expected a number >= 0, got nan");
  EXPECT_EQ(complaint(kMinimal + "max_steps: 1.5"), "r.yaml:4:12: max_steps: expected an integer >= 0, got 1.5");
  EXPECT_EQ(complaint(kMinimal + "max_steps: 3000000000"),
            "r.yaml:4:12: max_steps: expected an integer of 32 bits, got 3000000000");
  EXPECT_EQ(complaint(kMinimal + "max_steps:"), "r.yaml:4:1: max_steps: expected an integer >= 0, got null");
  EXPECT_EQ(complaint(kMinimal + "name: 5"), "r.yaml:4:7: name: expected text (in quotes), got 5");
  EXPECT_EQ(complaint(kMinimal + "device: tpu"), "r.yaml:4:9: device: expected auto, cpu or cuda, got \"tpu\"");
  EXPECT_EQ(complaint(kMinimal + "kind: ppo"), "r.yaml:4:7: kind: expected grpo or sft, got \"ppo\"");
  EXPECT_EQ(complaint(kMinimal + "grpo: [1]"), "r.yaml:4:7: grpo: expected keys and values, got a list");
  EXPECT_EQ(complaint(kMinimal + "grpo: {mask_truncated_completions: yes}"),
            "r.yaml:4:36: grpo.mask_truncated_completions: expected true or false, got \"yes\"");
  EXPECT_EQ(complaint(kMinimal + "grpo: {stop: x}"), "r.yaml:4:14: grpo.stop: expected a list of texts, got \"x\"");
  EXPECT_EQ(complaint("rewards: [{name: a, weight: x}]"),
            "r.yaml:1:29: rewards.0.weight: expected a number, got \"x\"");
  EXPECT_EQ(complaint("rewards: [{name: a, weight: .inf}]"),
            "r.yaml:1:29: rewards.0.weight: expected a number, got infinity");
  EXPECT_EQ(complaint("- a\n"), "r.yaml:1:1: expected keys and values, got a list");
  EXPECT_EQ(complaint("name: [1\n").substr(0, 7), "r.yaml:");
}

TEST_F(Config, UnknownKeysComeWithTheNearestName) {
  EXPECT_EQ(complaint(kMinimal + "grpo: {num_generation: 8}"),
            "r.yaml:4:24: grpo.num_generation: unknown key (did you mean \"num_generations\"?)");
  EXPECT_EQ(complaint(kMinimal + "modle: {}"), "r.yaml:4:8: modle: unknown key (did you mean \"model\"?)");
  EXPECT_EQ(complaint(kMinimal + "xyzzy: 1"), "r.yaml:4:8: xyzzy: unknown key");
  EXPECT_EQ(complaint("rewards: [{name: a, wieght: 1}]"),
            "r.yaml:1:29: rewards.0.wieght: unknown key (did you mean \"weight\"?)");
  EXPECT_EQ(complaint("rewards: [{name: a, schedule: {begin: 1}}]"),
            "r.yaml:1:39: rewards.0.schedule.begin: unknown key");
}

TEST_F(Config, KeysOfOtherSectionsAndOtherTrainersAreExplained) {
  EXPECT_EQ(complaint(kMinimal + "learning_rate: 1e-6"),
            "r.yaml:4:16: learning_rate: is no key of the top level; it stands as optimizer.learning_rate");
  EXPECT_EQ(complaint(kMinimal + "optimizer: {beta: 0}"),
            "r.yaml:4:19: optimizer.beta: is no key of `optimizer`; it stands as grpo.beta");
  EXPECT_EQ(complaint(kMinimal + "grpo: {lr_scheduler_type: linear}"),
            "r.yaml:4:27: grpo.lr_scheduler_type: stands as optimizer.schedule here");
  EXPECT_EQ(complaint(kMinimal + "grpo: {use_vllm: true}"),
            "r.yaml:4:18: grpo.use_vllm: has no meaning here: sampler and trainer are one engine on the same weights");
  for (const char* key :
       {"vllm_mode", "fp16", "bf16", "pad_to_multiple_of", "trust_remote_code", "per_device_train_batch_size",
        "gradient_accumulation_steps", "sync_ref_model", "report_to"}) {
    const std::string text = complaint(kMinimal + key + ": 1");
    EXPECT_EQ(text.find("unknown key"), std::string::npos) << text;
  }
  EXPECT_NE(complaint(kMinimal + "gates: [{a: 1}]").find("only an empty list"), std::string::npos);
}

TEST_F(Config, AliasesOfTrl) {
  const RunConfig config = load(kMinimal + R"(
steps: 5
grpo: {ref_model_sync_steps: 4, ref_model_mixup_alpha: 0.6, scale_rewards: false, multi_objective_aggregation: normalize_then_sum}
optimizer: {lr_scheduler_type: linear, adam_beta1: 0.8, adam_beta2: 0.9, adam_epsilon: 1.0e-7}
)");
  EXPECT_EQ(config.max_steps, 5);
  EXPECT_EQ(config.grpo.ref_sync_steps, 4);
  EXPECT_EQ(config.grpo.ref_mixup_alpha, 0.6);
  EXPECT_EQ(config.grpo.advantage.scale_rewards, ScaleRewards::None);
  EXPECT_EQ(config.grpo.advantage.aggregation, Aggregation::NormalizeThenSum);
  EXPECT_EQ(config.optimizer.schedule, Schedule::Linear);
  EXPECT_EQ(config.optimizer.beta1, 0.8);
  EXPECT_EQ(config.optimizer.beta2, 0.9);
  EXPECT_EQ(config.optimizer.epsilon, 1e-7);
  EXPECT_EQ(load(kMinimal + "train: {gradient_checkpointing: true}").train.recompute, Recompute::On);
  EXPECT_EQ(load(kMinimal + "train: {recompute: off}").train.recompute, Recompute::Off);
  EXPECT_EQ(complaint(kMinimal + "train: {recompute: sometimes}"),
            "r.yaml:4:20: train.recompute: expected auto, on or off, got \"sometimes\"");
  EXPECT_EQ(complaint(kMinimal + "grpo: {gradient_checkpointing: true}"),
            "r.yaml:4:32: grpo.gradient_checkpointing: stands as train.recompute here");
  EXPECT_EQ(load(kMinimal + "grpo: {scale_rewards: true}").grpo.advantage.scale_rewards, ScaleRewards::Group);
  EXPECT_EQ(
      complaint(kMinimal + "steps: 5\nmax_steps: 6"),
      "r.yaml:4:8: steps: expected one of \"steps\" and \"max_steps\", which mean the same, got both (the other in "
      "line 5)");
  EXPECT_EQ(load(kMinimal + "max_steps: 6", {"steps=9"}).max_steps, 9);
  EXPECT_EQ(load(kMinimal + "steps: 6", {"max_steps=9"}).max_steps, 9);
}

TEST_F(Config, Overrides) {
  const RunConfig config = load(
      kMinimal, {"grpo.beta=0", "rewards.0.weight=2", "optimizer.lr_scheduler_type=linear", "grpo.stop=[a, \"b,c\"]",
                 "rewards.0.params={k: 1}", "data.prompt=a=b", "model.dtype=bf16", "name=x", "grpo.delta=null"});
  EXPECT_EQ(config.grpo.loss.beta, 0);
  EXPECT_EQ(config.rewards[0].weight, 2);
  EXPECT_EQ(config.optimizer.schedule, Schedule::Linear);
  EXPECT_EQ(config.grpo.stop, (std::vector<std::string>{"a", "b,c"}));
  EXPECT_EQ(config.rewards[0].params.at("k").as_int(), 1);
  EXPECT_EQ(config.data.prompt, "a=b");
  EXPECT_EQ(config.model.dtype, DType::BFloat16);
  EXPECT_EQ(load("", {"rewards=[{name: a}]", "model.path=m", "data.train=d"}).rewards.size(), 1u);
  EXPECT_EQ(load(kMinimal, {"max_steps=1", "max_steps=2"}).max_steps, 2);
}

TEST_F(Config, OverridesReachIntoAPreset) {
  const RunConfig config = load("model: {path: m}\ndata: {train: d}\n", {"rewards.1.weight=0.5", "preset=r1-zero"});
  EXPECT_EQ(config.grpo.num_generations, 16);
  ASSERT_EQ(config.rewards.size(), 2u);
  EXPECT_EQ(config.rewards[1].name, "format");
  EXPECT_EQ(config.rewards[1].weight, 0.5);
}

TEST_F(Config, BadOverrides) {
  EXPECT_EQ(complaint(kMinimal, {"grpo.beta"}), "override \"grpo.beta\": expected key=value");
  EXPECT_EQ(complaint(kMinimal, {"=1"}), "override \"=1\": expected key=value");
  EXPECT_EQ(complaint(kMinimal, {"grpo..beta=1"}),
            "override \"grpo..beta=1\": expected key=value, got an empty part in the key");
  EXPECT_EQ(complaint(kMinimal, {"grpo.beta=x"}), "grpo.beta: expected a number >= 0, got \"x\"");
  EXPECT_EQ(complaint(kMinimal, {"grpo.bata=1"}), "grpo.bata: unknown key (did you mean \"beta\"?)");
  EXPECT_EQ(complaint(kMinimal, {"rewards.1.weight=2"}),
            "override \"rewards.1.weight=2\": expected an index below 1 after \"rewards\", got \"1\"");
  EXPECT_EQ(complaint(kMinimal, {"rewards.x=2"}),
            "override \"rewards.x=2\": expected an index below 1 after \"rewards\", got \"x\"");
  EXPECT_EQ(complaint("", {"rewards.0.weight=2"}), "override \"rewards.0.weight=2\": there is no list \"rewards\"");
  EXPECT_EQ(complaint(kMinimal + "name: n", {"name.x=2"}), "override \"name.x=2\": \"name\" has no keys");
  EXPECT_EQ(complaint(kMinimal, {"grpo.stop=[a"}).substr(0, 26), "override \"grpo.stop=[a\": v");
}

TEST_F(Config, CommandsNeedTheirFields) {
  EXPECT_EQ(complaint("name: x"), "r.yaml: model.path: expected a path for training, got none");
  EXPECT_EQ(complaint("model: {path: m}\n"), "r.yaml: data.train: expected a path for training, got none");
  EXPECT_EQ(complaint("model: {path: m}\ndata: {train: d}"),
            "r.yaml: rewards: expected at least one for training, got none");
  EXPECT_EQ(complaint("kind: sft\nmodel: {path: m}"),
            "r.yaml: data.train: expected a path for supervised training, got none");
  EXPECT_NO_THROW(load("kind: sft\nmodel: {path: m}\ndata: {train: d}"));
  EXPECT_NO_THROW(load("rewards: [{name: a}]", {}, Command::Score));
  EXPECT_NO_THROW(load("rewards: [{name: a}]", {}, Command::Evaluate));
  EXPECT_NO_THROW(load("rewards: [{name: a}]\ngrpo: {top_p: 0.9}", {}, Command::Score));  // a rule of training
  EXPECT_EQ(complaint("name: x", {}, Command::Score), "r.yaml: rewards: expected at least one for scoring, got none");
  EXPECT_EQ(complaint("name: x", {}, Command::Evaluate),
            "r.yaml: rewards: expected at least one for evaluation, got none");
}

TEST_F(Config, AProgramMayAddItsRewardsLater) {
  write_file_atomic(file_, "model: {path: m}\ndata: {train: d}\n");
  const char* argv[] = {"program", file_.c_str(), "grpo.beta=0.5"};
  EXPECT_EQ(load_config(3, argv).grpo.loss.beta, 0.5);
  EXPECT_EQ(error_text([&] { load_config(1, argv); }), "usage: program RUN.yaml [key=value ...]");
}

TEST_F(Config, TheEnvironmentIsRefused) {
  EXPECT_EQ(complaint(kMinimal + "name: a${env:HOME}"),
            "r.yaml:4:7: name: ${env:...} is refused; write the value itself");
  EXPECT_NE(complaint("rewards: [{name: a, params: {x: [\"${env:KEY}\"]}}]").find("rewards.0.params.x.0: ${env:"),
            std::string::npos);
  EXPECT_NE(complaint(kMinimal, {"name=${env:HOME}"}).find("${env:...} is refused"), std::string::npos);
}

// The rules across fields: what each line says must be in the complaint.
TEST_F(Config, RulesAcrossFields) {
  const std::pair<const char*, const char*> cases[] = {
      {"grpo: {loss_type: cispo}", "r.yaml: grpo.epsilon_high: expected a number >= 1 with loss_type cispo"},
      {"grpo: {loss_type: cispo, epsilon_high: 0.3}", "r.yaml:4:40: grpo.epsilon_high: expected a number >= 1"},
      {"grpo: {delta: 1.2}", "grpo.delta: expected a number above 1 + epsilon_high = 1.2, got 1.2"},
      {"grpo: {dual_clip: 1}", "grpo.dual_clip: expected a number > 1"},
      {"grpo: {loss_type: gspo, importance_sampling_level: token}", "expected sequence with loss_type gspo, got token"},
      {"grpo: {top_p: 0.9}", "grpo.top_p: expected 1: truncated sampling is not replayed by the loss"},
      {"grpo: {top_k: 5}", "grpo.top_k: expected 0: truncated sampling is not replayed"},
      {"grpo: {min_p: 0.1}", "grpo.min_p: expected 0: truncated sampling is not replayed"},
      {"grpo: {temperature: 0}", "grpo.temperature: expected a number above 0"},
      {"grpo: {num_generations: 1}", "grpo.num_generations: expected at least 2"},
      {"grpo: {prompts_per_step: 100000, steps_per_generation: 30000}",
       "grpo.prompts_per_step: expected at most 16777216 answers to a rollout "
       "(prompts_per_step x steps_per_generation x num_generations), got 100000 x 30000 x 8"},
      {"grpo: {prompts_per_step: 2000000000, steps_per_generation: 2000000000, num_generations: 2000000000}",
       "expected at most 16777216 answers to a rollout"},
      {"grpo: {stop: [\"\"]}", "grpo.stop.0: expected text that is not empty"},
      {"grpo: {beta: 0, ref_sync_steps: 10}", "grpo.ref_sync_steps: has no effect unless grpo.beta is above 0"},
      {"grpo: {ref_mixup_alpha: 0.6}", "grpo.ref_mixup_alpha: has no effect unless grpo.ref_sync_steps is above 0"},
      {"grpo: {ref_sync_steps: 10, steps_per_generation: 4}", "expected a multiple of the 4 steps that one rollout"},
      {"grpo: {sapo_temperature_pos: 2}", "grpo.sapo_temperature_pos: has no effect unless loss_type is sapo"},
      {"grpo: {sapo_temperature_neg: 2}", "grpo.sapo_temperature_neg: has no effect unless loss_type is sapo"},
      {"grpo: {loss_type: sapo, epsilon_high: 0.3}", "grpo.epsilon_high: has no effect"},
      {"grpo: {loss_type: sapo, delta: 4}", "grpo.delta: has no effect"},
      {"grpo: {loss_type: cispo, epsilon_high: 5, dual_clip: 3}", "grpo.dual_clip: has no effect"},
      {"grpo: {loss_type: cispo, epsilon_high: 5, epsilon: 0.3}", "grpo.epsilon: has no effect"},
      {"grpo: {sampler_correction_max: 2}", "grpo.sampler_correction_max: has no effect"},
      {"grpo: {sampler_correction: token_mask, sampler_correction_min: 4}",
       "expected at most sampler_correction_max = 3.0"},
      {"grpo: {sampler_correction: token_mask}", "grpo.sampler_correction: expected none for training"},
      {"optimizer: {schedule: step}", "optimizer.step_size: expected at least 1 with schedule step"},
      {"optimizer: {step_size: 5}", "optimizer.step_size: has no effect unless schedule is step"},
      {"optimizer: {step_gamma: 0.9}", "optimizer.step_gamma: has no effect unless schedule is step"},
      {"optimizer: {min_lr_ratio: 0.1}", "optimizer.min_lr_ratio: has no effect unless schedule is linear or cosine"},
      {"eval: {every: 5}", "eval.every: has no effect unless eval.data names a file"},
      {"eval: {data: e, num_generations: 4}", "eval.num_generations: expected 1 with temperature 0"},
  };
  for (const auto& [text, expected] : cases) {
    const std::string message = complaint(kMinimal + text);
    EXPECT_NE(message.find(expected), std::string::npos) << text << "\n" << message;
  }
}

TEST_F(Config, RulesOfRewards) {
  const std::string start = "model: {path: m}\ndata: {train: d}\nrewards:\n";
  EXPECT_EQ(complaint(start + "- {weight: 1}"), "r.yaml:4:3: rewards.0: expected a name, got none");
  EXPECT_EQ(complaint(start + "- {name: a}\n- {name: a}"),
            "r.yaml:5:10: rewards.1.name: expected a name of its own, got \"a\" a second time");
  EXPECT_EQ(complaint(start + "- {name: a, schedule: {start: 5, end: 5}}"),
            "r.yaml:4:39: rewards.0.schedule.end: expected a step after schedule.start = 5, got 5");
  EXPECT_NE(complaint(start + "- {name: a, weight: 0}").find("expected a weight other than 0"), std::string::npos);
  EXPECT_NE(complaint(start + "- {name: a, timeout_s: 0}").find("expected a number > 0"), std::string::npos);
}

TEST_F(Config, GspoImpliesSequenceRatios) {
  EXPECT_EQ(load(kMinimal + "grpo: {loss_type: gspo}").grpo.loss.importance_sampling_level, RatioLevel::Sequence);
  RunConfig built = load(kMinimal);
  built.grpo.loss.loss_type = LossType::Gspo;
  EXPECT_NE(error_text([&] { validate(built); }).find("expected sequence with loss_type gspo"), std::string::npos);
}

TEST_F(Config, ValidateChecksWhatCodeBuilt) {
  RunConfig config;
  EXPECT_EQ(error_text([&] { validate(config); }), "model.path: expected a path for training, got none");
  config = load(kMinimal);
  EXPECT_NO_THROW(validate(config));
  config.grpo.loss.beta = -1;
  EXPECT_EQ(error_text([&] { validate(config); }), "grpo.beta: expected a number >= 0, got -1.0");
}

TEST_F(Config, WrittenConfigsReadBackTheSame) {
  const std::string rich = kMinimal + R"(
name: "a: b # c"
output_dir: "out put"
data2: x
)";
  EXPECT_NE(complaint(rich).find("data2"), std::string::npos);
  RunConfig config =
      load(kMinimal, {"data.id=\"\\x7f\\n\\u00e9 'q' \\\"\"",
                      "rewards.0.params={a: [1, [2, {b: null}], {}], c: [], \"1\": x, d: [{e: 1, f: [g]}]}",
                      "rewards.0.when={source: [a, \"true\", \"1e5\", \"-\", \"...\", \"~\", \"0x1\"]}",
                      "grpo.stop=[\"\\n\\n\", \"#\", \"a: b\", \" \"]", "grpo.epsilon_high=0.28",
                      "optimizer.learning_rate=3e-7", "seed=9007199254740993"});
  const Json tree = config_to_tree(config);
  EXPECT_EQ(parse_yaml(to_yaml(tree)), tree) << to_yaml(tree);
  // From another folder, since resolved configs lie in the run's.
  fs::create_directory(folder_ + "/run");
  write_file_atomic(folder_ + "/run/config.resolved.yaml", to_yaml(tree));
  const RunConfig again = load_config(folder_ + "/run/config.resolved.yaml");
  EXPECT_EQ(config_to_tree(again), tree);
  write_file_atomic(folder_ + "/run/c.json", tree.dump(2));
  EXPECT_EQ(config_to_tree(load_config(folder_ + "/run/c.json")), tree);
}

TEST_F(Config, YamlOfAnyTreeReadsBack) {
  for (
      const char* text :
      {"{}", "[]", "null", "[[[]]]", R"([[1, [2]], [{"a": []}], {"b": [{}]}])", R"({"a": {"b": {"c": [[{"d": 1}]]}}})",
       R"({"": "", "a b": "c", "- x": "!t", "y": "&a", "z": "*a", "true": "null", "#": "%"})",
       R"(["\u0000\u001f\u0080\u0085\u2028\ufeff", "a\tb", " lead", "trail ", "multi\nline\n", "C:\\x", "1:30", "=", "<<"])",
       R"([1e300, -5e-324, 0.1, 9223372036854775807, -9223372036854775808, true, "9223372036854775808", "1e999", ".5", "+1"])"}) {
    const Json tree = parse_json(text);
    EXPECT_EQ(parse_yaml(to_yaml(tree)), tree) << to_yaml(tree);
  }
  const Json dashes = parse_json(R"({"a": "-", "b": "---", "c": "-5", "-": "-x"})");
  EXPECT_EQ(parse_yaml(to_yaml(dashes)), dashes) << to_yaml(dashes);
  const Json infinite = parse_yaml("[.inf, -.inf]");
  EXPECT_EQ(parse_yaml(to_yaml(infinite)), infinite);
  Json long_keys;  // beyond what YAML takes in front of a ':'
  for (const std::size_t size : {1000, 1001, 1025, 5000}) {
    long_keys[std::string(size, 'k')] = Json::List{1, Json::Object{{std::string(size, '\n'), Json::Object{{"a", 2}}}}};
  }
  EXPECT_EQ(parse_yaml(to_yaml(long_keys)), long_keys);
}

TEST_F(Config, TheGrpoSectionAlone) {
  const GrpoSection section =
      grpo_section_from_tree(parse_json(R"({"loss_type": "gspo", "beta": 0, "delta": 3, "ref_model_sync_steps": 5})"));
  EXPECT_EQ(section.loss.importance_sampling_level, RatioLevel::Sequence);
  EXPECT_EQ(section.ref_sync_steps, 5);
  EXPECT_EQ(grpo_section_from_tree(Json()).num_generations, 8);
  EXPECT_EQ(error_text([] { grpo_section_from_tree(parse_json(R"({"bata": 0})")); }),
            "line 1: grpo.bata: unknown key (did you mean \"beta\"?)");
  EXPECT_THROW(grpo_section_from_tree(parse_json(R"({"loss_type": "cispo"})")), Error);
  EXPECT_THROW(grpo_section_from_tree(parse_json("[]")), Error);
}

TEST_F(Config, ReferenceAndHelpNameEveryKey) {
  const std::string reference = config_reference();
  EXPECT_NE(
      reference.find("| `grpo.beta` | number >= 0 | `0.001` | weight of the KL term; 0: off, no reference policy |"),
      std::string::npos);
  EXPECT_NE(reference.find("`rewards.N.schedule.start`"), std::string::npos);
  EXPECT_NE(reference.find("needed by train, score, evaluate"), std::string::npos);
  const std::string help = config_help();
  EXPECT_NE(help.find("model.path=\"\"  (path)  "), std::string::npos);
  EXPECT_NE(help.find("\nrewards.N.weight=1.0  (number)  "), std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
