#include "base/config_rules.h"

#include <set>

#include "base/config_fields.h"
#include "base/log.h"
#include "base/tree_path.h"

namespace grpo::inline GRPO_ABI {
namespace {

class Rules {
 public:
  Rules(std::string source, const Json* tree) : source_(std::move(source)), tree_(tree) {}

  void require(bool holds, const std::string& path, const std::string& message) const {
    if (!holds) throw Error(position(path) + ": " + message);
  }

  // A setting that differs from its default although nothing reads it.
  void require_used(bool used, bool set, const std::string& path, const std::string& unless) const {
    require(used || !set, path, "has no effect unless " + unless + "; leave it out");
  }

  // What does no harm is said only to those who wrote it themselves.
  void warn_unless(bool holds, const std::string& path, const std::string& message) const {
    const Json* node = tree_ ? find_path(*tree_, path) : nullptr;
    const bool own = node && node->where().rfind("preset ", 0) != 0;
    if (!holds && own) log::warn(position(path) + ": " + message);
  }

  std::string position(const std::string& path) const {
    const Json* node = tree_ ? find_path(*tree_, path) : nullptr;
    const std::string where = node && !node->where().empty() ? node->where() : source_;
    return where.empty() ? path : where + ": " + path;
  }

 private:
  std::string source_;
  const Json* tree_;
};

std::string shown(double value) { return Json(value).dump(); }
std::string shown(std::int64_t value) { return std::to_string(value); }

bool is_on(const std::optional<double>& value) { return value.has_value(); }

void check_loss(const Rules& rules, const LossConfig& loss) {
  if (loss.loss_type == LossType::Cispo) {
    rules.require(loss.epsilon_high && *loss.epsilon_high >= 1, "grpo.epsilon_high",
                  "expected a number >= 1 with loss_type cispo (it is the cap on the ratio itself), got " +
                      (loss.epsilon_high ? shown(*loss.epsilon_high) : "none"));
  }
  if (loss.loss_type == LossType::Gspo) {
    rules.require(
        loss.importance_sampling_level == RatioLevel::Sequence, "grpo.importance_sampling_level",
        "expected sequence with loss_type gspo, got " + std::string(enum_name(loss.importance_sampling_level)));
  }
  const double high = loss.epsilon_high.value_or(loss.epsilon);
  rules.require(
      !loss.delta || *loss.delta > 1 + high, "grpo.delta",
      "expected a number above 1 + epsilon_high = " + shown(1 + high) + ", got " + shown(loss.delta.value_or(0)));
  rules.require(!loss.dual_clip || *loss.dual_clip > 1, "grpo.dual_clip",
                "expected a number above 1, got " + shown(loss.dual_clip.value_or(0)));
  rules.require(loss.sampler_correction_min <= loss.sampler_correction_max, "grpo.sampler_correction_min",
                "expected at most sampler_correction_max = " + shown(loss.sampler_correction_max) + ", got " +
                    shown(loss.sampler_correction_min));
}

// Settings of the loss that its other settings leave without effect.
void check_dead_loss(const Rules& rules, const LossConfig& loss) {
  const LossConfig defaults;
  const bool sapo = loss.loss_type == LossType::Sapo;
  const bool clips = !sapo && loss.loss_type != LossType::Cispo;
  const bool bounded = clips && loss.loss_type != LossType::Gmpo;
  rules.require_used(bounded, is_on(loss.delta), "grpo.delta", "loss_type is grpo, dr_grpo, dapo, bnpo or gspo");
  rules.require_used(bounded, is_on(loss.dual_clip), "grpo.dual_clip",
                     "loss_type is grpo, dr_grpo, dapo, bnpo or gspo");
  rules.require_used(!sapo, is_on(loss.epsilon_high), "grpo.epsilon_high", "loss_type is other than sapo");
  rules.require_used(clips, loss.epsilon != defaults.epsilon, "grpo.epsilon", "loss_type is other than cispo and sapo");
  rules.require_used(sapo, loss.sapo_temperature_pos != defaults.sapo_temperature_pos, "grpo.sapo_temperature_pos",
                     "loss_type is sapo");
  rules.require_used(sapo, loss.sapo_temperature_neg != defaults.sapo_temperature_neg, "grpo.sapo_temperature_neg",
                     "loss_type is sapo");
  const bool corrects = loss.sampler_correction != SamplerCorrection::None;
  rules.require_used(corrects, loss.sampler_correction_max != defaults.sampler_correction_max,
                     "grpo.sampler_correction_max", "sampler_correction is other than none");
  rules.require_used(corrects, loss.sampler_correction_min != defaults.sampler_correction_min,
                     "grpo.sampler_correction_min", "sampler_correction is other than none");
  const std::string no_kl = "has no effect while grpo.beta is 0";
  rules.warn_unless(loss.beta > 0 || loss.kl_estimator == defaults.kl_estimator, "grpo.kl_estimator", no_kl);
  rules.warn_unless(loss.beta > 0 || !loss.use_bias_correction_kl, "grpo.use_bias_correction_kl", no_kl);
  const bool whole_sequence = loss.importance_sampling_level != RatioLevel::Token;
  const bool token_sum = loss.loss_type == LossType::Dapo || loss.loss_type == LossType::Bnpo ||
                         loss.loss_type == LossType::Cispo || loss.loss_type == LossType::DrGrpo;
  rules.warn_unless(!whole_sequence || !token_sum, "grpo.importance_sampling_level",
                    "a ratio of the whole sequence with a loss that sums tokens weighs long answers more");
}

void check_sampling(const Rules& rules, const GrpoSection& grpo) {
  rules.require(
      grpo.temperature > 0, "grpo.temperature",
      "expected a number above 0 for training (greedy answers are all the same), got " + shown(grpo.temperature));
  const std::string off = ": truncated sampling is not replayed by the loss, so training needs it off, got ";
  rules.require(grpo.top_p == 1, "grpo.top_p", "expected 1" + off + shown(grpo.top_p));
  rules.require(grpo.top_k == 0, "grpo.top_k", "expected 0" + off + shown(std::int64_t{grpo.top_k}));
  rules.require(grpo.min_p == 0, "grpo.min_p", "expected 0" + off + shown(grpo.min_p));
  rules.require(
      grpo.loss.sampler_correction == SamplerCorrection::None, "grpo.sampler_correction",
      "expected none for training (sampler and trainer are one forward, so there is nothing to correct), got " +
          std::string(enum_name(grpo.loss.sampler_correction)));
  rules.require(grpo.num_generations >= 2, "grpo.num_generations",
                "expected at least 2 for training (an advantage compares the answers of one prompt), got " +
                    shown(std::int64_t{grpo.num_generations}));
  constexpr std::int64_t kMostAnswers = std::int64_t{1} << 24;
  const std::int64_t prompts = std::int64_t{grpo.prompts_per_step} * grpo.steps_per_generation;
  rules.require(prompts <= kMostAnswers && prompts * grpo.num_generations <= kMostAnswers, "grpo.prompts_per_step",
                "expected at most " + shown(kMostAnswers) +
                    " answers to a rollout (prompts_per_step x steps_per_generation x num_generations), got " +
                    shown(std::int64_t{grpo.prompts_per_step}) + " x " +
                    shown(std::int64_t{grpo.steps_per_generation}) + " x " + shown(std::int64_t{grpo.num_generations}));
  for (std::size_t i = 0; i < grpo.stop.size(); ++i) {
    rules.require(!grpo.stop[i].empty(), "grpo.stop." + std::to_string(i), "expected text that is not empty");
  }
}

void check_reference(const Rules& rules, const GrpoSection& grpo) {
  rules.require_used(grpo.loss.beta > 0, grpo.ref_sync_steps != 0, "grpo.ref_sync_steps",
                     "grpo.beta is above 0 (there is no reference policy)");
  rules.require_used(grpo.ref_sync_steps > 0, grpo.ref_mixup_alpha != GrpoSection{}.ref_mixup_alpha,
                     "grpo.ref_mixup_alpha", "grpo.ref_sync_steps is above 0");
  const std::int64_t per_rollout = std::int64_t{grpo.steps_per_generation} * grpo.num_iterations;
  rules.require(grpo.ref_sync_steps % per_rollout == 0, "grpo.ref_sync_steps",
                "expected a multiple of the " + shown(per_rollout) +
                    " steps that one rollout serves (steps_per_generation x num_iterations), got " +
                    shown(std::int64_t{grpo.ref_sync_steps}));
  rules.warn_unless(grpo.steps_per_generation > 1 || grpo.minibatch_split == MinibatchSplit::Groups,
                    "grpo.minibatch_split", "has no effect while grpo.steps_per_generation is 1");
}

void check_rewards(const Rules& rules, const std::vector<RewardEntry>& rewards) {
  std::set<std::string> names;
  bool any_weight = rewards.empty();
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    const RewardEntry& reward = rewards[i];
    const std::string path = "rewards." + std::to_string(i);
    rules.require(!reward.name.empty(), path, "expected a name, got none");
    rules.require(names.insert(reward.name).second, path + ".name",
                  "expected a name of its own, got \"" + reward.name + "\" a second time");
    rules.require(reward.schedule_end == 0 || reward.schedule_end > reward.schedule_start, path + ".schedule.end",
                  "expected a step after schedule.start = " + shown(std::int64_t{reward.schedule_start}) + ", got " +
                      shown(std::int64_t{reward.schedule_end}));
    rules.require_used(!reward.plugin.empty(), reward.isolation != Isolation::None, path + ".isolation",
                       "plugin is set");
    any_weight = any_weight || reward.weight != 0;
  }
  rules.require(any_weight, "rewards", "expected a weight other than 0, got none");
}

void check_optimizer(const Rules& rules, const OptimizerSection& optimizer) {
  const OptimizerSection defaults;
  const bool steps = optimizer.schedule == Schedule::Step;
  const bool falls = optimizer.schedule == Schedule::Linear || optimizer.schedule == Schedule::Cosine;
  rules.require(!steps || optimizer.step_size > 0, "optimizer.step_size",
                "expected at least 1 with schedule step, got " + shown(std::int64_t{optimizer.step_size}));
  rules.require_used(steps, optimizer.step_size != defaults.step_size, "optimizer.step_size", "schedule is step");
  rules.require_used(steps, optimizer.step_gamma != defaults.step_gamma, "optimizer.step_gamma", "schedule is step");
  rules.require_used(falls, optimizer.min_lr_ratio != defaults.min_lr_ratio, "optimizer.min_lr_ratio",
                     "schedule is linear or cosine");
}

void check_eval(const Rules& rules, const EvalSection& eval) {
  rules.require_used(!eval.data.empty(), eval.every != 0, "eval.every", "eval.data names a file");
  rules.require_used(eval.every > 0, !eval.best.empty(), "eval.best", "eval.every says when to evaluate");
  rules.require_used(!eval.data.empty(), eval.max_prompts != 0, "eval.max_prompts", "eval.data names a file");
  rules.require(eval.num_generations == 1 || eval.temperature > 0, "eval.num_generations",
                "expected 1 with temperature 0 (greedy answers are all the same), got " +
                    shown(std::int64_t{eval.num_generations}));
}

unsigned need_of(const RunConfig& config, Command command) {
  switch (command) {
    case Command::Train:
      return config.kind == RunKind::Grpo ? fields::kTrainGrpo : fields::kTrainSft;
    case Command::Score:
      return fields::kScore;
    case Command::Evaluate:
      return fields::kEvaluate;
  }
  GRPO_ASSERT(false);
  return 0;
}

std::string purpose(unsigned need) {
  switch (need) {
    case fields::kTrainGrpo:
      return "training";
    case fields::kTrainSft:
      return "supervised training";
    case fields::kScore:
      return "scoring";
    default:
      return "evaluation";
  }
}

void check_needed(const Rules& rules, const std::vector<fields::FieldInfo>& infos, const Json& values, unsigned need,
                  const std::string& above) {
  for (const auto& info : infos) {
    const std::string path = above + info.name;
    const Json& value = values.at(info.name);
    const bool empty = value.is_string() ? value.as_string().empty() : value.is_list() && value.size() == 0;
    rules.require(!(info.needed_for & need) || !empty, path,
                  "expected " + std::string(info.is_list ? "at least one" : "a " + info.type) + " for " +
                      purpose(need) + ", got none");
    if (!info.is_list && !info.children.empty()) check_needed(rules, info.children, value, need, path + ".");
  }
}

// Ranges, for configurations that were built in code: what can be written can be read back.
void check_ranges(const RunConfig& config) {
  RunConfig copy;
  const fields::FieldContext context{"", "", {}};
  fields::read_fields(fields::run_fields(), copy, config_to_tree(config), context);
}

}  // namespace

void check_loss_rules(const GrpoSection& section, const Json* tree) { check_loss(Rules("", tree), section.loss); }

void check_rules(const RunConfig& config, Command command, const Json* tree, RewardsFrom rewards) {
  const Rules rules(config.source, tree);
  const unsigned need = need_of(config, command);
  if (!tree) check_ranges(config);
  std::vector<fields::FieldInfo> infos = fields::field_infos(fields::run_fields());
  for (auto& info : infos) {
    if (info.name == "rewards" && rewards == RewardsFrom::FileOrCode) info.needed_for = fields::kOptional;
  }
  check_needed(rules, infos, config_to_tree(config), need, "");
  check_rewards(rules, config.rewards);
  check_loss(rules, config.grpo.loss);
  if (command != Command::Train) return;
  check_dead_loss(rules, config.grpo.loss);
  check_optimizer(rules, config.optimizer);
  check_eval(rules, config.eval);
  rules.warn_unless(
      config.optimizer.warmup_steps <= config.max_steps, "optimizer.warmup_steps",
      "the run ends after max_steps = " + shown(std::int64_t{config.max_steps}) + ", before the warm-up does");
  if (config.kind == RunKind::Grpo) {
    const bool plain = fields::write_fields(fields::sft_fields(), config.sft) ==
                       fields::write_fields(fields::sft_fields(), SftSection{});
    rules.warn_unless(plain, "sft", "has no effect while kind is grpo");
    check_sampling(rules, config.grpo);
    check_reference(rules, config.grpo);
  }
}

void apply_implications(GrpoSection& section, const Json& tree) {
  const bool explicit_level = find_path(tree, "grpo.importance_sampling_level") != nullptr;
  if (section.loss.loss_type == LossType::Gspo && !explicit_level) {
    section.loss.importance_sampling_level = RatioLevel::Sequence;
  }
}

void validate(const RunConfig& config, Command command) { check_rules(config, command, nullptr, RewardsFrom::File); }

}  // namespace grpo::inline GRPO_ABI
