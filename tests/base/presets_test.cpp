// Every preset, value by value. What a preset does not name must be the default.
#include "base/presets.h"

#include <gtest/gtest.h>

#include <map>

#include <grpo/config.h>

#include "base/error_text.h"
#include "base/tree_path.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Values = std::map<std::string, Json>;

Json base_tree() {
  return parse_json(R"({"model": {"path": "m"}, "data": {"train": "d"}, "rewards": [{"name": "accuracy"}]})");
}

void flatten(const Json& tree, const std::string& above, Values& out) {
  if (!tree.is_object() || tree.size() == 0) {
    out[above] = tree;
    return;
  }
  for (const auto& [key, value] : tree.as_object()) flatten(value, above.empty() ? key : above + "." + key, out);
}

// The leaves of a configuration with this preset that differ from one without.
Values changes(const std::string& preset, bool with_rewards) {
  Json tree = base_tree();
  tree["preset"] = preset;
  if (with_rewards) tree.erase("rewards");
  Values with, without, result;
  flatten(config_to_tree(config_from_tree(tree)), "", with);
  flatten(config_to_tree(config_from_tree(base_tree())), "", without);
  for (const auto& [path, value] : with) {
    if (path != "preset" && path != "rewards" && !(value == without.at(path))) result[path] = value;
  }
  return result;
}

std::string rewards_of(const std::string& preset) {
  Json tree = base_tree();
  tree.erase("rewards");
  tree["preset"] = preset;
  std::string text;
  for (const RewardEntry& reward : config_from_tree(tree).rewards) {
    text += reward.name + " " + Json(reward.weight).dump() + " " + reward.params.dump() + "; ";
  }
  return text;
}

const Values kR1 = {{"grpo.num_generations", 16},          {"grpo.prompts_per_step", 32},
                    {"grpo.steps_per_generation", 16},     {"grpo.minibatch_split", "completions"},
                    {"grpo.max_completion_length", 32768}, {"grpo.epsilon", 10.0},
                    {"grpo.ref_sync_steps", 400},          {"optimizer.learning_rate", 3e-6}};

Values r1_with(const Values& more) {
  Values all = kR1;
  for (const auto& [path, value] : more) all[path] = value;
  return all;
}

std::string shown(const Values& values) {
  std::string text;
  for (const auto& [path, value] : values) text += path + "=" + value.dump() + "\n";
  return text;
}

TEST(Presets, DeepSeekMath) {
  EXPECT_EQ(shown(changes("deepseekmath-rl", false)), shown({{"grpo.num_generations", 64},
                                                             {"grpo.prompts_per_step", 16},
                                                             {"grpo.max_completion_length", 1024},
                                                             {"grpo.beta", 0.04}}));
}

TEST(Presets, R1) {
  EXPECT_EQ(shown(changes("r1-zero", true)), shown(r1_with({{"data.template", "r1_zero"}, {"max_steps", 10400}})));
  EXPECT_EQ(rewards_of("r1-zero"), "accuracy 1.0 null; format 1.0 null; ");
  EXPECT_EQ(shown(changes("r1-stage1", true)), shown(r1_with({{"data.template", "r1"}})));
  EXPECT_EQ(rewards_of("r1-stage1"), "accuracy 1.0 null; format 1.0 null; language_consistency 1.0 null; ");
  EXPECT_EQ(shown(changes("r1-stage2", true)),
            shown(r1_with({{"data.template", "r1"}, {"grpo.temperature", 0.7}, {"max_steps", 1700}})));
  EXPECT_EQ(rewards_of("r1-stage2"), "accuracy 1.0 null; format 1.0 null; language_consistency 1.0 null; ");
  EXPECT_EQ(shown(changes("r1-zero-qwen32b", true)),
            shown(r1_with({{"data.template", "r1_zero"}, {"optimizer.learning_rate", 2e-6}})));
  EXPECT_EQ(rewards_of("r1-zero-qwen32b"), "accuracy 1.0 null; format 1.0 null; ");
}

// The R1 recipe's values that are also the library's defaults.
TEST(Presets, R1ValuesThatAreDefaults) {
  for (const char* name : {"r1-zero", "r1-stage1", "r1-stage2", "r1-zero-qwen32b"}) {
    Json tree = base_tree();
    tree["preset"] = name;
    const RunConfig config = config_from_tree(tree);
    EXPECT_EQ(config.grpo.loss.beta, 0.001);
    EXPECT_EQ(config.grpo.num_iterations, 1);
    EXPECT_EQ(config.grpo.ref_mixup_alpha, 1.0);
    EXPECT_EQ(config.grpo.loss.loss_type, LossType::Grpo);
  }
}

TEST(Presets, Trl) {
  EXPECT_EQ(shown(changes("trl", false)), shown({{"grpo.loss_type", "dapo"},
                                                 {"grpo.prompts_per_step", 1},
                                                 {"grpo.beta", 0.0},
                                                 {"grpo.use_bias_correction_kl", true},
                                                 {"optimizer.schedule", "linear"},
                                                 {"optimizer.beta2", 0.999}}));
  Json tree = base_tree();
  tree["preset"] = "trl";
  tree["rewards"].push_back(parse_json(R"({"name": "b", "missing": "center"})"));
  const RunConfig config = config_from_tree(tree);
  EXPECT_EQ(config.grpo.loss.max_completion_length, 512);
  EXPECT_EQ(config.grpo.num_generations, 8);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-6);
  EXPECT_EQ(config.rewards[0].missing, MissingReward::Zero);
  EXPECT_EQ(config.rewards[1].missing, MissingReward::Center);
}

TEST(Presets, Replications) {
  EXPECT_EQ(shown(changes("tinyzero", false)), shown({{"data.max_prompt_length", 256},
                                                      {"grpo.num_generations", 5},
                                                      {"grpo.prompts_per_step", 64},
                                                      {"grpo.steps_per_generation", 2},
                                                      {"grpo.max_completion_length", 1024}}));
  EXPECT_EQ(shown(changes("simplerl", false)), shown({{"grpo.prompts_per_step", 1024},
                                                      {"grpo.max_completion_length", 8192},
                                                      {"grpo.beta", 1e-4},
                                                      {"grpo.entropy_coef", 0.001}}));
  EXPECT_EQ(shown(changes("open-r1", true)), shown({{"grpo.num_generations", 16}, {"grpo.temperature", 0.7}}));
  EXPECT_EQ(rewards_of("open-r1"), "accuracy 1.0 null; format 1.0 null; tag_count 1.0 {\"mode\": \"tag_count\"}; ");
  EXPECT_EQ(shown(changes("willccbb", true)), shown({{"data.max_prompt_length", 256},
                                                     {"grpo.num_generations", 16},
                                                     {"grpo.prompts_per_step", 4},
                                                     {"grpo.max_completion_length", 786},
                                                     {"grpo.temperature", 0.9},
                                                     {"grpo.beta", 0.04},
                                                     {"optimizer.learning_rate", 5e-6},
                                                     {"optimizer.schedule", "cosine"},
                                                     {"optimizer.warmup_steps", 187},
                                                     {"optimizer.beta2", 0.99},
                                                     {"optimizer.weight_decay", 0.1},
                                                     {"optimizer.max_grad_norm", 0.1},
                                                     {"max_steps", 1868}}));
  EXPECT_EQ(rewards_of("willccbb"),
            "accuracy 2.0 null; format 0.5 {\"mode\": \"strict\"}; soft_format 0.5 {\"mode\": \"soft\"}; "
            "tag_count 0.5 {\"mode\": \"tag_count\"}; ");
  EXPECT_EQ(shown(changes("seed-hybrid", true)), shown({{"grpo.num_generations", 16}, {"grpo.beta", 0.01}}));
  EXPECT_EQ(rewards_of("seed-hybrid"),
            "accuracy 1.0 null; format 0.3 {\"mode\": \"cosine_template\"}; language_consistency 0.2 null; ");
}

// The recipes' values that are also the library's defaults, so that a change of a default does not change a recipe.
TEST(Presets, ValuesOfRecipesThatAreDefaults) {
  const auto with = [](const char* name) {
    Json tree = base_tree();
    tree["preset"] = name;
    return config_from_tree(tree);
  };
  EXPECT_EQ(with("deepseekmath-rl").optimizer.learning_rate, 1e-6);
  EXPECT_EQ(with("deepseekmath-rl").grpo.num_iterations, 1);
  EXPECT_EQ(with("tinyzero").optimizer.learning_rate, 1e-6);
  EXPECT_EQ(with("tinyzero").grpo.loss.beta, 0.001);
  EXPECT_EQ(with("tinyzero").grpo.loss.kl_estimator, KlEstimator::K3);
  EXPECT_EQ(with("simplerl").grpo.num_generations, 8);
  EXPECT_EQ(with("open-r1").optimizer.learning_rate, 1e-6);
  EXPECT_EQ(with("willccbb").optimizer.beta1, 0.9);
}

// A recipe says each of its values itself: a preset's tree holds them, whatever the defaults are.
TEST(Presets, HoldTheirOwnValues) {
  const std::pair<const char*, std::vector<const char*>> cases[] = {
      {"deepseekmath-rl", {"grpo.num_generations", "grpo.beta", "grpo.num_iterations", "optimizer.learning_rate"}},
      {"r1-zero", {"grpo.beta", "grpo.temperature", "grpo.num_iterations", "grpo.ref_mixup_alpha"}},
      {"trl",
       {"grpo.num_generations", "grpo.epsilon", "grpo.scale_rewards", "grpo.ddof", "grpo.eps",
        "grpo.max_completion_length", "grpo.mask_truncated_completions", "optimizer.learning_rate", "optimizer.beta1",
        "optimizer.epsilon", "optimizer.weight_decay", "optimizer.max_grad_norm"}},
      {"tinyzero", {"grpo.beta", "grpo.kl_estimator", "optimizer.learning_rate"}},
      {"simplerl", {"grpo.num_generations"}},
      {"open-r1", {"optimizer.learning_rate"}},
      {"willccbb", {"optimizer.beta1"}},
  };
  for (const auto& [preset, paths] : cases) {
    for (const char* path : paths) EXPECT_NE(find_path(preset_tree(preset), path), nullptr) << preset << " " << path;
  }
}

TEST(Presets, TheFilesOwnValuesWin) {
  Json tree = base_tree();
  tree["preset"] = "r1-zero";
  tree["grpo"] = parse_json(R"({"epsilon": 0.3})");
  const RunConfig config = config_from_tree(tree);
  EXPECT_EQ(config.grpo.loss.epsilon, 0.3);
  EXPECT_EQ(config.grpo.num_generations, 16);
  EXPECT_EQ(config.rewards.size(), 1u);
}

TEST(Presets, AWrittenConfigWithAPresetReadsBackTheSame) {
  for (const std::string& name : preset_names()) {
    Json tree = base_tree();
    tree["preset"] = name;
    const Json written = config_to_tree(config_from_tree(tree));
    EXPECT_EQ(config_to_tree(config_from_tree(parse_yaml(to_yaml(written)))), written) << name;
  }
}

TEST(Presets, UnknownOnesListTheKnown) {
  const std::string text = error_text([] { config_from_tree(parse_yaml("preset: r1-zer", "r.yaml")); });
  EXPECT_EQ(text,
            "r.yaml:1:9: preset: expected one of deepseekmath-rl, r1-zero, r1-stage1, r1-stage2, r1-zero-qwen32b, trl, "
            "tinyzero, simplerl, open-r1, willccbb, seed-hybrid, got \"r1-zer\" (did you mean \"r1-zero\"?)");
}

TEST(Presets, AContradictionNamesThePreset) {
  const Json tree = parse_yaml("preset: r1-zero\nmodel: {path: m}\ndata: {train: d}\ngrpo: {beta: 0}\n", "r.yaml");
  const std::string text = error_text([&] { config_from_tree(tree); });
  EXPECT_EQ(text.substr(0, 15), "preset r1-zero:");
  EXPECT_NE(text.find("grpo.ref_sync_steps: has no effect"), std::string::npos) << text;
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
