#include "base/presets.h"

#include "base/nearest.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct Preset {
  std::string_view name;
  std::string_view tree;         // YAML
  std::string_view reward_keys;  // YAML
};

// DeepSeekMath (arXiv 2402.03300), section 4.2. Silent on epsilon, temperature, the learning rate's course and how
// many steps lie between two references; the batch of 1,024 is read as outputs, 16 questions x 64.
constexpr std::string_view kDeepSeekMath = R"(
grpo: {num_generations: 64, prompts_per_step: 16, max_completion_length: 1024, beta: 0.04, num_iterations: 1}
optimizer: {learning_rate: 1.0e-6}
)";

// DeepSeek-R1 (arXiv 2501.12948v2), R1-Zero. Silent on epsilon (stage 1's value is taken), on the learning rate's
// course and on the optimiser; the length grows to 65,536 at step 8,200, which one run cannot say.
constexpr std::string_view kR1Zero = R"(
data: {template: r1_zero}
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 1.0}
grpo: {num_generations: 16, prompts_per_step: 32, steps_per_generation: 16, num_iterations: 1,
       minibatch_split: completions, max_completion_length: 32768, temperature: 1.0, beta: 0.001, epsilon: 10,
       ref_sync_steps: 400, ref_mixup_alpha: 1.0}
optimizer: {learning_rate: 3.0e-6}
max_steps: 10400
)";

// R1, first RL stage, from the cold-start model. Silent on the number of steps.
constexpr std::string_view kR1Stage1 = R"(
data: {template: r1}
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 1.0}
  - {name: language_consistency, weight: 1.0}
grpo: {num_generations: 16, prompts_per_step: 32, steps_per_generation: 16, num_iterations: 1,
       minibatch_split: completions, max_completion_length: 32768, temperature: 1.0, beta: 0.001, epsilon: 10,
       ref_sync_steps: 400, ref_mixup_alpha: 1.0}
optimizer: {learning_rate: 3.0e-6}
)";

// R1, second RL stage: most settings "as stage 1", temperature 0.7. Its preference rewards (the last 400 of 1,700
// steps, on general prompts) are models of the user's and stay out.
constexpr std::string_view kR1Stage2 = R"(
data: {template: r1}
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 1.0}
  - {name: language_consistency, weight: 1.0}
grpo: {num_generations: 16, prompts_per_step: 32, steps_per_generation: 16, num_iterations: 1,
       minibatch_split: completions, max_completion_length: 32768, temperature: 0.7, beta: 0.001, epsilon: 10,
       ref_sync_steps: 400, ref_mixup_alpha: 1.0}
optimizer: {learning_rate: 3.0e-6}
max_steps: 1700
)";

// Qwen2.5-32B trained as R1-Zero. Silent on epsilon (stage 1's value is taken) and on the exact number of steps.
constexpr std::string_view kR1ZeroQwen32b = R"(
data: {template: r1_zero}
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 1.0}
grpo: {num_generations: 16, prompts_per_step: 32, steps_per_generation: 16, num_iterations: 1,
       minibatch_split: completions, max_completion_length: 32768, temperature: 1.0, beta: 0.001, epsilon: 10,
       ref_sync_steps: 400, ref_mixup_alpha: 1.0}
optimizer: {learning_rate: 2.0e-6}
)";

// GRPOConfig of TRL 1.16.0 on one device: 8 completions a step are one prompt. Its three epochs have no counterpart.
constexpr std::string_view kTrl = R"(
grpo: {loss_type: dapo, num_generations: 8, prompts_per_step: 1,
       steps_per_generation: 1, num_iterations: 1, max_completion_length: 512, temperature: 1.0, epsilon: 0.2, beta: 0,
       use_bias_correction_kl: true, scale_rewards: group, aggregation: sum_then_normalize, ddof: 1, eps: 1.0e-4,
       mask_truncated_completions: false}
optimizer: {learning_rate: 1.0e-6, schedule: linear, min_lr_ratio: 0, warmup_steps: 0, beta1: 0.9, beta2: 0.999,
            epsilon: 1.0e-8, weight_decay: 0, max_grad_norm: 1.0}
)";

// TinyZero's GRPO script; silent here on its reward (countdown: 1 right, 0.1 well-formed, 0), which is a task's own.
constexpr std::string_view kTinyZero = R"(
data: {max_prompt_length: 256}
grpo: {num_generations: 5, prompts_per_step: 64, steps_per_generation: 2, max_completion_length: 1024, beta: 0.001,
       kl_estimator: k3}
optimizer: {learning_rate: 1.0e-6}
)";

// simpleRL-reason v1. Its batch of 1,024 is read as prompts; beta is that of models up to 14B. Silent on the rate.
constexpr std::string_view kSimpleRl = R"(
grpo: {num_generations: 8, prompts_per_step: 1024, max_completion_length: 8192, beta: 1.0e-4, entropy_coef: 0.001}
)";

// open-r1's GRPO demonstration.
constexpr std::string_view kOpenR1 = R"(
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 1.0}
  - {name: tag_count, type: format, weight: 1.0, params: {mode: tag_count}}
grpo: {num_generations: 16, temperature: 0.7}
optimizer: {learning_rate: 1.0e-6}
)";

// Will Brown's GRPO demonstration (a public gist), one epoch of GSM8K's 7,473 questions, 4 a step; its int reward (0.5
// for an answer of digits) has no counterpart, its tags were <reasoning>, its tag count ran to 0.5 with a small penalty
// for trailing text. Silent on beta, temperature and epsilon: TRL's of the day, 0.04, 0.9 and no clipping (which one
// pass on policy cannot tell from 0.2).
constexpr std::string_view kWillccbb = R"(
data: {max_prompt_length: 256}
rewards:
  - {name: accuracy, weight: 2.0}
  - {name: format, weight: 0.5, params: {mode: strict}}
  - {name: soft_format, type: format, weight: 0.5, params: {mode: soft}}
  - {name: tag_count, type: format, weight: 0.5, params: {mode: tag_count}}
grpo: {num_generations: 16, prompts_per_step: 4, max_completion_length: 786, temperature: 0.9, beta: 0.04}
optimizer: {learning_rate: 5.0e-6, schedule: cosine, warmup_steps: 187, beta1: 0.9, beta2: 0.99, weight_decay: 0.1,
            max_grad_norm: 0.1}
max_steps: 1868
)";

// A recipe of secondary sources. It differs from the R1 paper, which has beta 0.001, equal weights for accuracy and
// format, an unweighted language reward and a rule for the format.
constexpr std::string_view kSeedHybrid = R"(
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 0.3, params: {mode: cosine_template}}
  - {name: language_consistency, weight: 0.2}
grpo: {num_generations: 16, beta: 0.01}
)";

constexpr Preset kPresets[] = {
    {"deepseekmath-rl", kDeepSeekMath, ""},
    {"r1-zero", kR1Zero, ""},
    {"r1-stage1", kR1Stage1, ""},
    {"r1-stage2", kR1Stage2, ""},
    {"r1-zero-qwen32b", kR1ZeroQwen32b, ""},
    {"trl", kTrl, "missing: zero"},
    {"tinyzero", kTinyZero, ""},
    {"simplerl", kSimpleRl, ""},
    {"open-r1", kOpenR1, ""},
    {"willccbb", kWillccbb, ""},
    {"seed-hybrid", kSeedHybrid, ""},
};

const Preset& find_preset(const std::string& name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
  }
  std::string known;
  for (const std::string& each : preset_names()) known += (known.empty() ? "" : ", ") + each;
  throw Error("preset: expected one of " + known + ", got \"" + name + "\"" + nearest_hint(name, preset_names()));
}

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

Json preset_tree(const std::string& name) { return parse_yaml(find_preset(name).tree, "preset " + name); }

Json preset_reward_keys(const std::string& name) {
  Json keys = parse_yaml(find_preset(name).reward_keys, "preset " + name);
  return keys.is_null() ? Json(Json::Object{}) : keys;
}

}  // namespace grpo::inline GRPO_ABI
