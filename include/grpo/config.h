// Run configs: plain aggregates, one per section, composed by RunConfig.
//
// Every member is described once, in the field list of its section (src/base/config_fields.cpp): name, range, what
// commands need it, one line of text. Loading, overrides, --help, the printed plan, docs/configuration.md and the
// resume check all walk that list. Names are TRL's where the meaning is the same. Values; no thread-safety.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <grpo/error.h>
#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

enum class DType { Float32, BFloat16 };
enum class RunKind { Grpo, Sft };
enum class TemplateKind { R1Zero, R1, Chat, Plain };
enum class ScaleRewards { Group, Batch, None };
enum class Aggregation { SumThenNormalize, NormalizeThenSum };
enum class Baseline { Mean, LeaveOneOut };
enum class MissingReward { Exclude, Center, Zero };
enum class Isolation { None, Process };
enum class LossType { Grpo, DrGrpo, Dapo, Bnpo, Cispo, Gspo, Sapo, Gmpo };
enum class RatioLevel { Token, Sequence, SequenceProduct };
enum class KlEstimator { K1, K2, K3 };
enum class SamplerCorrection { None, TokenTruncate, TokenMask, SequenceTruncate, SequenceMask };
enum class MinibatchSplit { Groups, Completions };
enum class Schedule { Constant, Linear, Cosine, Step };
enum class CheckOnPolicy { Exact, Tolerance, Off };
enum class Recompute { Auto, On, Off };

struct ModelSection {
  std::string path;              // Hugging Face folder or GGUF file
  DType dtype = DType::Float32;  // compute type; masters are always fp32
  std::string tokenizer;         // folder or tokenizer.json; empty: the model's own
};

struct DataSection {
  std::string train;                                // JSONL
  std::string prompt = "prompt";                    // column of the question; `messages` columns are taken as they are
  std::string answer = "answer";                    // column of the reference answer
  std::string messages = "messages";                // column of a conversation; wins over `prompt` where a row has it
  std::string id;                                   // column of the row id; empty: line number
  TemplateKind template_kind = TemplateKind::Chat;  // key `template`
  Json template_variables;                          // key `template_variables`, object handed to the chat template
  bool shuffle = true;
  int max_prompt_length = 0;  // tokens; 0: the model's context less max_completion_length
  int max_rows = 0;           // 0: all
};

struct RewardEntry {  // one item of `rewards:` (contracts.md section 4)
  std::string name;
  std::string type;  // empty: name
  double weight = 1.0;
  Json when;               // {column: value or [values]}; null: every row
  int schedule_start = 0;  // first step at which it counts
  int schedule_end = 0;    // 0: never ends
  double timeout_s = 60;
  MissingReward missing = MissingReward::Exclude;
  Json params;         // object or null
  std::string plugin;  // shared library; empty: linked in
  Isolation isolation = Isolation::None;
};

struct AdvantageConfig {
  ScaleRewards scale_rewards = ScaleRewards::Group;
  Aggregation aggregation = Aggregation::SumThenNormalize;
  Baseline baseline = Baseline::Mean;
  int ddof = 1;
  double eps = 1e-4;
};

struct LossConfig {
  LossType loss_type = LossType::Grpo;
  RatioLevel importance_sampling_level = RatioLevel::Token;
  double epsilon = 0.2;
  std::optional<double> epsilon_high;  // unset: epsilon (cispo: required)
  std::optional<double> delta;         // cap on the unclipped ratio; unset: off
  std::optional<double> dual_clip;     // c > 1 for A < 0; unset: off
  double beta = 0.001;
  KlEstimator kl_estimator = KlEstimator::K3;
  bool use_bias_correction_kl = false;
  double entropy_coef = 0.0;
  double sapo_temperature_pos = 1.0;
  double sapo_temperature_neg = 1.05;
  bool mask_truncated_completions = false;
  SamplerCorrection sampler_correction = SamplerCorrection::None;
  double sampler_correction_max = 3.0;
  double sampler_correction_min = 0.0;
  std::int64_t max_completion_length = 512;  // dr_grpo's constant
};

struct GrpoSection {
  AdvantageConfig advantage;  // keys stand directly in `grpo:`
  LossConfig loss;            // likewise
  int num_generations = 8;
  int prompts_per_step = 8;      // per optimiser step
  int steps_per_generation = 1;  // optimiser steps served by one rollout (minibatches)
  int num_iterations = 1;        // mu
  MinibatchSplit minibatch_split = MinibatchSplit::Groups;
  double temperature = 1.0;
  double top_p = 1.0;
  int top_k = 0;
  double min_p = 0.0;
  std::vector<std::string> stop;  // stop strings
  int ref_sync_steps = 0;         // replace the reference every N steps; 0: never (TRL: ref_model_sync_steps)
  double ref_mixup_alpha = 1.0;   // ref <- alpha policy + (1 - alpha) ref
  CheckOnPolicy check_on_policy = CheckOnPolicy::Exact;
  int cache_tokens = 0;        // token budget of live sequences; 0: 65536
  int micro_batch_tokens = 0;  // tokens per micro-batch of the update; 0: 8192
};

struct SftSection {
  int batch_size = 32;    // conversations (rows) per optimiser step
  int max_length = 2048;  // longer rows are an error unless drop_long
  bool drop_long = false;
  int micro_batch_tokens = 0;  // 0: 8192
};

struct TrainSection {                     // the update, of either kind
  Recompute recompute = Recompute::Auto;  // of a layer, backward keeps the input and computes the rest again
};

struct OptimizerSection {
  double learning_rate = 1e-6;
  Schedule schedule = Schedule::Constant;  // TRL: lr_scheduler_type
  int warmup_steps = 0;
  double min_lr_ratio = 0.0;  // floor of linear and cosine, as a share of learning_rate
  int step_size = 0;          // `step`: every N steps times step_gamma
  double step_gamma = 0.5;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;  // 0: no clipping
};

struct EvalSection {
  std::string data;  // JSONL; empty: no evaluation
  int every = 0;     // steps; 0: only after the last step
  int num_generations = 1;
  double temperature = 0.0;
  int max_prompts = 0;  // 0: all
  std::string best;     // metric of an evaluation, "-" before it: less is better; empty: no step is called the best
};

struct DistributedSection {  // runs on several ranks
  int zero_stage = 1;        // ZeRO: 1 shards the optimiser's state over ranks, 2 gradients too
  double timeout_s = 1800;   // how long a collective waits for the other ranks
};

struct RunConfig {
  std::string name = "run";
  RunKind kind = RunKind::Grpo;
  std::string preset;  // applied before the file's own values
  std::int64_t seed = 42;
  int max_steps = 100;
  std::string output_dir;  // empty: runs/<name>
  std::string device = "auto";
  int threads = 0;  // 0: all cores that the process may use
  ModelSection model;
  DataSection data;
  std::vector<RewardEntry> rewards;
  double max_failure_fraction = 0.1;
  std::string think = "auto";  // auto, required, none
  GrpoSection grpo;
  SftSection sft;
  TrainSection train;
  OptimizerSection optimizer;
  EvalSection eval;
  DistributedSection distributed;
  int save_every = 0;        // steps; 0: only at the end
  int keep_checkpoints = 0;  // newest ones, beside the best; 0: all
  int log_completions = 4;   // completions of each step written to completions.jsonl per group; 0: none
  bool trace = false;        // phases written to trace.json

  std::string source;  // file it came from ("" when built in code); paths are relative to it
};

enum class Command { Train, Score, Evaluate };

// Reads a YAML or JSON file, applies `key=value` overrides ("grpo.beta=0", values in YAML syntax), checks every
// field and the rules across fields for `command`. Throws Error naming file:line:column, field, expected and got.
GRPO_API RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides = {},
                               Command command = Command::Train);
// `program RUN.yaml [key=value ...]`, for programs that link the library.
GRPO_API RunConfig load_config(int argc, const char* const* argv);
// The same from a tree (no file).
GRPO_API RunConfig config_from_tree(const Json& tree, Command command = Command::Train);
// One section's keys on their own: `grpo:` for the loss and advantages commands. Unknown keys are errors.
GRPO_API GrpoSection grpo_section_from_tree(const Json& tree);
// All values, as a tree that load_config accepts (enums as their names); `config.resolved.yaml` is this.
GRPO_API Json config_to_tree(const RunConfig& config);
GRPO_API std::string to_yaml(const Json& tree);
// The rules across fields; load_config calls it, programs that build a RunConfig in code may.
GRPO_API void validate(const RunConfig& config, Command command = Command::Train);

// Reference text for docs/configuration.md (Markdown), made from the field lists.
GRPO_API std::string config_reference();
// JSON Schema (draft 2020-12) of a run file, for editors; likewise made from the field lists.
GRPO_API std::string config_schema();
// One line per field, for `--help`.
GRPO_API std::string config_help();

}  // namespace grpo::inline GRPO_ABI
