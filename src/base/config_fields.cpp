#include "base/config_fields.h"

#include "base/presets.h"

namespace grpo::fields {

const Fields<ModelSection>& model_fields() {
  using S = ModelSection;
  static const Fields<S> rows = {
      path("path", &S::path, "Hugging Face model folder or GGUF file", kTrainGrpo | kTrainSft),
      named("dtype", &S::dtype, "compute type; master weights are always fp32"),
      path("tokenizer", &S::tokenizer, "folder or tokenizer.json; empty: the model's own"),
  };
  return rows;
}

const Fields<DataSection>& data_fields() {
  using S = DataSection;
  static const Fields<S> rows = {
      path("train", &S::train, "JSONL file of training rows", kTrainGrpo | kTrainSft),
      text("prompt", &S::prompt, "column of the question"),
      text("answer", &S::answer, "column of the reference answer"),
      text("messages", &S::messages, "column of a conversation; wins over the question where a row has it"),
      text("id", &S::id, "column of the row's id; empty: the line number"),
      named("template", &S::template_kind, "how a question becomes a prompt"),
      object("template_variables", &S::template_variables, "variables for the chat template; null: none"),
      flag("shuffle", &S::shuffle, "a new order of the rows in every epoch; false: the file's order"),
      integer("max_prompt_length", &S::max_prompt_length, at_least(0),
              "longest prompt in tokens: longer ones are left out and counted, never cut; 0: the model's context less "
              "grpo.max_completion_length"),
      integer("max_rows", &S::max_rows, at_least(0), "only the first rows of the file; 0: all"),
  };
  return rows;
}

const Fields<RewardEntry>& reward_fields() {
  using S = RewardEntry;
  static const Fields<S> schedule = {
      integer("start", &S::schedule_start, at_least(0), "first step at which the reward counts"),
      integer("end", &S::schedule_end, at_least(0), "first step at which it counts no more; 0: never"),
  };
  static const Fields<S> rows = {
      text("name", &S::name, "name in metrics; every reward needs its own"),
      text("type", &S::type, "which reward; empty: the name"),
      number("weight", &S::weight, anything(), "factor in the total; 0: scored and logged only"),
      object("when", &S::when, "column: value or list of values; null: every row"),
      nested("schedule", schedule, "the steps at which it counts"),
      number("timeout_s", &S::timeout_s, above(0), "seconds for one prompt's answers; then they are not scored"),
      named("missing", &S::missing,
            "a sample without a value: left out, given no advantage by this reward, or counted as value 0"),
      object("params", &S::params, "parameters of the reward; null: none"),
      path("plugin", &S::plugin, "shared library that brings the reward; empty: linked in"),
      named("isolation", &S::isolation,
            "where a plug-in runs: in this process, or in worker processes that may hang or crash without harm"),
  };
  return rows;
}

const Fields<AdvantageConfig>& advantage_fields() {
  using S = AdvantageConfig;
  static const Fields<S> rows = {
      named("scale_rewards", &S::scale_rewards, "what standard deviation divides the centred rewards; none: off"),
      named("aggregation", &S::aggregation, "several rewards: normalise their sum, or each before the sum"),
      named("baseline", &S::baseline, "what is taken off: the group's mean or that of the other members"),
      integer("ddof", &S::ddof, between(0, 1), "1: sample standard deviation; 0: population"),
      number("eps", &S::eps, at_least(0), "added to the standard deviation; 0: off"),
  };
  return rows;
}

const Fields<LossConfig>& loss_fields() {
  using S = LossConfig;
  static const Fields<S> rows = {
      named("loss_type", &S::loss_type, "the objective"),
      named("importance_sampling_level", &S::importance_sampling_level,
            "ratio per token, mean over the sequence, or product over it; gspo implies sequence"),
      number("epsilon", &S::epsilon, at_least(0), "the ratio is clipped below 1 - epsilon"),
      optional_number("epsilon_high", &S::epsilon_high, at_least(0),
                      "... and above 1 + epsilon_high; null: epsilon; cispo: the cap itself, required"),
      optional_number("delta", &S::delta, above(1), "cap on the unclipped ratio, above 1 + epsilon_high; null: off"),
      optional_number("dual_clip", &S::dual_clip, above(1),
                      "bound c of the loss where the advantage is negative; null: off"),
      number("beta", &S::beta, at_least(0), "weight of the KL term; 0: off, no reference policy"),
      named("kl_estimator", &S::kl_estimator, "k1, k2 or k3 of the log-ratio to the reference"),
      flag("use_bias_correction_kl", &S::use_bias_correction_kl, "multiply the KL term by the importance ratio"),
      number("entropy_coef", &S::entropy_coef, at_least(0), "weight of an entropy bonus; 0: off"),
      number("sapo_temperature_pos", &S::sapo_temperature_pos, above(0), "sapo: temperature for positive advantages"),
      number("sapo_temperature_neg", &S::sapo_temperature_neg, above(0), "sapo: temperature for the others"),
      flag("mask_truncated_completions", &S::mask_truncated_completions,
           "answers cut by max_completion_length leave the loss"),
      named("sampler_correction", &S::sampler_correction,
            "weight by trainer over sampler probability, truncated or masked; none: off"),
      number("sampler_correction_max", &S::sampler_correction_max, above(0), "upper bound of that weight"),
      number("sampler_correction_min", &S::sampler_correction_min, at_least(0), "lower bound of that weight; 0: none"),
      integer("max_completion_length", &S::max_completion_length, at_least(1),
              "longest answer in tokens; the constant of dr_grpo"),
  };
  return rows;
}

const Fields<GrpoSection>& grpo_fields() {
  using S = GrpoSection;
  static const Fields<S> rows = [] {
    Fields<S> all = lifted(&S::loss, loss_fields());
    for (auto& row : lifted(&S::advantage, advantage_fields())) all.push_back(row);
    const Fields<S> own = {
        integer("num_generations", &S::num_generations, at_least(1), "answers per prompt (G)"),
        integer("prompts_per_step", &S::prompts_per_step, at_least(1), "prompts per optimiser step"),
        integer("steps_per_generation", &S::steps_per_generation, at_least(1),
                "optimiser steps (minibatches) that one rollout serves"),
        integer("num_iterations", &S::num_iterations, at_least(1), "passes over a rollout (mu)"),
        named("minibatch_split", &S::minibatch_split,
              "a rollout is cut by prompts, or its completions are spread at random"),
        number("temperature", &S::temperature, at_least(0),
               "sampling temperature, in the loss as well; must be > 0 in training"),
        number("top_p", &S::top_p, {.low = 0, .high = 1, .open_low = true},
               "nucleus sampling; 1: off, as training needs it"),
        integer("top_k", &S::top_k, at_least(0), "likeliest tokens only; 0: off, as training needs it"),
        number("min_p", &S::min_p, between(0, 1),
               "least share of the likeliest token's probability; 0: off, as training needs it"),
        texts("stop", &S::stop, "texts that end an answer; []: none"),
        integer("ref_sync_steps", &S::ref_sync_steps, at_least(0),
                "the reference follows the policy every so many steps; 0: never"),
        number("ref_mixup_alpha", &S::ref_mixup_alpha, {.low = 0, .high = 1, .open_low = true},
               "share of the policy in the new reference; 1: all of it"),
        named("check_on_policy", &S::check_on_policy,
              "compare sampler and trainer log-probs while on policy: bit for bit, within rounding, or off"),
        integer("cache_tokens", &S::cache_tokens, at_least(0), "tokens of live sequences in the cache; 0: 65536"),
        integer("micro_batch_tokens", &S::micro_batch_tokens, at_least(0),
                "tokens per micro-batch of the update; 0: 8192"),
    };
    all.insert(all.end(), own.begin(), own.end());
    return all;
  }();
  return rows;
}

const Fields<SftSection>& sft_fields() {
  using S = SftSection;
  static const Fields<S> rows = {
      integer("batch_size", &S::batch_size, between(1, 1 << 24), "conversations per optimiser step"),
      integer("max_length", &S::max_length, at_least(2), "tokens; longer conversations are an error"),
      flag("drop_long", &S::drop_long, "leave longer conversations out (they are counted)"),
      integer("micro_batch_tokens", &S::micro_batch_tokens, at_least(0), "tokens per micro-batch; 0: 8192"),
  };
  return rows;
}

const Fields<TrainSection>& train_fields() {
  using S = TrainSection;
  static const Fields<S> rows = {
      named("recompute", &S::recompute,
            "compute each layer again in backward instead of keeping what is inside of it: the same bits, less memory, "
            "more time; auto: where the update fits into the free memory only so"),
  };
  return rows;
}

const Fields<OptimizerSection>& optimizer_fields() {
  using S = OptimizerSection;
  static const Range share = {.low = 0, .high = 1, .open_high = true};
  static const Fields<S> rows = {
      number("learning_rate", &S::learning_rate, at_least(0), "AdamW step size at the top of the schedule"),
      named("schedule", &S::schedule, "course of the learning rate after the warm-up"),
      integer("warmup_steps", &S::warmup_steps, at_least(0), "steps of linear rise from 0; 0: off"),
      number("min_lr_ratio", &S::min_lr_ratio, between(0, 1),
             "floor of linear and cosine, as a share of learning_rate"),
      integer("step_size", &S::step_size, at_least(0),
              "schedule step: every so many steps ...; 0: with other schedules"),
      number("step_gamma", &S::step_gamma, {.low = 0, .high = 1, .open_low = true},
             "... the rate is multiplied by this"),
      number("beta1", &S::beta1, share, "decay of AdamW's first moment"),
      number("beta2", &S::beta2, share, "decay of AdamW's second moment"),
      number("epsilon", &S::epsilon, above(0), "AdamW's epsilon"),
      number("weight_decay", &S::weight_decay, at_least(0), "decoupled weight decay; 0: off"),
      number("max_grad_norm", &S::max_grad_norm, at_least(0), "clip gradients to this global norm; 0: off"),
  };
  return rows;
}

const Fields<EvalSection>& eval_fields() {
  using S = EvalSection;
  static const Fields<S> rows = {
      path("data", &S::data, "JSONL file of held-out rows; empty: no evaluation"),
      integer("every", &S::every, at_least(0), "evaluate every so many steps; 0: only after the last"),
      integer("num_generations", &S::num_generations, at_least(1), "answers per prompt"),
      number("temperature", &S::temperature, at_least(0), "sampling temperature; 0: greedy"),
      integer("max_prompts", &S::max_prompts, at_least(0), "only the first rows; 0: all"),
      text("best", &S::best,
           "metric that names the best checkpoint (best.json), as eval_reward; with - before it less is better; empty: "
           "off"),
  };
  return rows;
}

const Fields<DistributedSection>& distributed_fields() {
  using S = DistributedSection;
  static const Fields<S> rows = {
      integer("zero_stage", &S::zero_stage, between(1, 2),
              "what the ranks share out: 1 the optimiser's state, 2 gradients as well"),
      number("timeout_s", &S::timeout_s, above(0), "seconds that a rank waits for the others before all stop"),
  };
  return rows;
}

const Fields<RunConfig>& run_fields() {
  using S = RunConfig;
  static const Fields<S> rows = {
      text("name", &S::name, "name of the run"),
      named("kind", &S::kind, "what is trained: by group rewards, or supervised"),
      with_names(text("preset", &S::preset, "named defaults, applied before all other keys; empty: none"),
                 preset_names()),
      integer("seed", &S::seed, at_least(0), "every random choice follows from it"),
      integer("max_steps", &S::max_steps, at_least(0), "optimiser steps; 0: none"),
      path("output_dir", &S::output_dir, "run folder; empty: runs/<name> in the current folder"),
      choice("device", &S::device, {"auto", "cpu", "cuda"}, "where it computes"),
      integer("threads", &S::threads, at_least(0), "CPU threads; 0: all cores that the process may use"),
      section("model", &S::model, model_fields(), "the policy's start"),
      section("data", &S::data, data_fields(), "training rows and how they are read"),
      list_of("rewards", &S::rewards, reward_fields(), "what scores an answer", kTrainGrpo | kScore | kEvaluate),
      number("max_failure_fraction", &S::max_failure_fraction, between(0, 1),
             "share of scores that may fail before the run stops"),
      choice("think", &S::think, {"auto", "required", "none"}, "where the final segment of an answer starts"),
      section("grpo", &S::grpo, grpo_fields(), "sampling, advantages and loss"),
      section("sft", &S::sft, sft_fields(), "supervised training"),
      section("train", &S::train, train_fields(), "the update, of either kind"),
      section("optimizer", &S::optimizer, optimizer_fields(), "AdamW and its schedule"),
      section("eval", &S::eval, eval_fields(), "evaluation inside a run"),
      section("distributed", &S::distributed, distributed_fields(), "runs on several ranks (mpirun, srun)"),
      integer("save_every", &S::save_every, at_least(0), "steps between checkpoints; 0: only at the end"),
      integer("keep_checkpoints", &S::keep_checkpoints, at_least(0),
              "newest checkpoints that are kept, beside the best one; 0: all"),
      integer("log_completions", &S::log_completions, at_least(0),
              "completions of each group written to completions.jsonl; 0: none"),
      flag("trace", &S::trace, "phases written to trace.json, for Perfetto and chrome://tracing"),
  };
  return rows;
}

}  // namespace grpo::fields
