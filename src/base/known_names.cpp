#include "base/known_names.h"

#include <utility>
#include <vector>

#include "base/config_fields.h"

namespace grpo {
namespace {

struct Alias {
  std::string_view section;  // "" for the top level
  std::string_view name;
  std::string_view key;
};

constexpr Alias kAliases[] = {
    {"", "steps", "max_steps"},
    {"", "run_name", "name"},
    {"", "save_steps", "save_every"},
    {"model", "model_name_or_path", "path"},
    {"model", "torch_dtype", "dtype"},
    {"data", "shuffle_dataset", "shuffle"},
    {"data", "chat_template_kwargs", "template_variables"},
    {"grpo", "multi_objective_aggregation", "aggregation"},
    {"grpo", "ref_model_sync_steps", "ref_sync_steps"},
    {"grpo", "ref_model_mixup_alpha", "ref_mixup_alpha"},
    {"grpo", "vllm_importance_sampling_mode", "sampler_correction"},
    {"grpo", "vllm_importance_sampling_clip_max", "sampler_correction_max"},
    {"grpo", "vllm_importance_sampling_clip_min", "sampler_correction_min"},
    {"sft", "max_seq_length", "max_length"},
    {"optimizer", "lr_scheduler_type", "schedule"},
    {"optimizer", "adam_beta1", "beta1"},
    {"optimizer", "adam_beta2", "beta2"},
    {"optimizer", "adam_epsilon", "epsilon"},
    {"eval", "eval_steps", "every"},
    {"eval", "num_generations_eval", "num_generations"},
};

struct Reason {
  std::string_view name;  // with a * at its end: every name that begins so
  std::string_view why;
};

constexpr std::string_view kBatch =
    "has no meaning here: grpo.prompts_per_step and grpo.num_generations say what one optimiser step holds, "
    "micro-batches follow from grpo.micro_batch_tokens";
constexpr std::string_view kOneEngine = "has no meaning here: sampler and trainer are one engine on the same weights";
constexpr std::string_view kPacked = "has no meaning here: batches are packed, nothing is padded";
constexpr std::string_view kOwnMemory = "has no meaning here: attention and the head never hold what it would save";
constexpr std::string_view kNotYet = "is TRL's, and this version does not have it";
constexpr std::string_view kLocal = "has no meaning here: runs are written to output_dir and nowhere else";

constexpr Reason kReasons[] = {
    {"use_vllm", kOneEngine},
    {"vllm_*", kOneEngine},
    {"use_transformers_*", kOneEngine},
    {"cache_implementation", kOneEngine},
    {"generation_kwargs", "has no meaning here: sampling options are keys of `grpo`"},
    {"ds3_gather_for_generation", kOneEngine},
    {"fp16", "is not supported: write model.dtype: bf16 or fp32"},
    {"bf16", "is written model.dtype: bf16 here"},
    {"cast_lm_head_to_fp32", "has no meaning here: the head's softmax is always fp32"},
    {"model_init_kwargs", "has no meaning here: model.dtype is the one choice"},
    {"trust_remote_code", "has no meaning here: no code is taken from a model's folder"},
    {"pad_to_multiple_of", kPacked},
    {"group_by_length", kPacked},
    {"disable_dropout", "has no meaning here: there is no dropout"},
    {"remove_unused_columns", "has no meaning here: rewards see every column"},
    {"per_device_train_batch_size", kBatch},
    {"per_device_eval_batch_size", kBatch},
    {"gradient_accumulation_steps", kBatch},
    {"generation_batch_size", kBatch},
    {"auto_find_batch_size", kBatch},
    {"gradient_checkpointing*", "has no meaning here: memory follows from grpo.micro_batch_tokens"},
    {"use_liger_kernel", kOwnMemory},
    {"torch_empty_cache_steps", kOwnMemory},
    {"torch_compile", kOneEngine},
    {"num_train_epochs", "has no meaning here: write max_steps"},
    {"warmup_ratio", "has no meaning here: write optimizer.warmup_steps"},
    {"reward_weights", "has no meaning here: every item of `rewards` has its weight"},
    {"reward_funcs", "has no meaning here: write a list `rewards`"},
    {"sync_ref_model", "has no meaning here: grpo.ref_sync_steps says it, 0 is off"},
    {"repetition_penalty", "is not supported: the loss could not replay it"},
    {"data_seed", "has no meaning here: write seed"},
    {"eval_strategy", "has no meaning here: write eval.every"},
    {"save_strategy", "has no meaning here: write save_every"},
    {"logging_steps", "has no meaning here: every step is logged"},
    {"logging_first_step", "has no meaning here: every step is logged"},
    {"log_completions_hub_repo", kLocal},
    {"num_completions_to_print", "is written log_completions here"},
    {"report_to", kLocal},
    {"push_to_hub", kLocal},
    {"hub_*", kLocal},
    {"resume_from_checkpoint", "has no meaning here: write --resume on the command line"},
    {"ddp_timeout", "has no meaning here: one process trains"},
    {"deepspeed", "has no meaning here: sharding is our own"},
    {"use_adaptive_entropy", kNotYet},
    {"entropy_coef_*", kNotYet},
    {"entropy_target", kNotYet},
    {"top_entropy_quantile", kNotYet},
    {"off_policy_mask_threshold", kNotYet},
    {"vespo_*", kNotYet},
    {"router_aux_loss_coef", kNotYet},
    {"max_tool_calling_iterations", kNotYet},
    {"gates", "is not there yet: only an empty list is accepted"},
};

std::string dotted(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : std::string(section) + "." + std::string(key);
}

void rename_in(Json& section, std::string_view name) {
  if (!section.is_object()) return;
  for (const Alias& alias : kAliases) {
    const Json* given = alias.section == name ? section.find(alias.name) : nullptr;
    if (!given) continue;
    if (const Json* other = section.find(alias.key)) {
      const std::string where = given->where();
      throw Error((where.empty() ? "" : where + ": ") + dotted(name, alias.name) + ": expected one of \"" +
                  std::string(alias.name) + "\" and \"" + std::string(alias.key) + "\", which mean the same, got both" +
                  (other->line() > 0 ? " (the other in line " + std::to_string(other->line()) + ")" : ""));
    }
    for (auto& entry : section.as_object()) {
      if (entry.first == alias.name) entry.first = alias.key;
    }
  }
}

// Dotted paths of all keys with this name, outside lists.
void find_paths(const std::vector<fields::FieldInfo>& infos, const std::string& above, const std::string& key,
                std::vector<std::string>& found) {
  for (const auto& info : infos) {
    const std::string path = dotted(above, info.name);
    if (info.name == key) found.push_back(path);
    if (!info.is_list) find_paths(info.children, path, key, found);
  }
}

}  // namespace

void rename_aliases(Json& tree) {
  if (!tree.is_object()) return;
  rename_in(tree, "");
  for (auto& [key, value] : tree.as_object()) rename_in(value, key);
  // Every document of the contract may carry the key; it can say nothing yet.
  const Json* gates = tree.find("gates");
  if (gates && gates->is_list() && gates->size() == 0) tree.erase("gates");
}

std::string rename_alias(const std::string& path) {
  for (const Alias& alias : kAliases) {
    if (dotted(alias.section, alias.name) == path) return dotted(alias.section, alias.key);
  }
  return path;
}

std::string explain_key(const std::string& section, const std::string& key) {
  for (const Alias& alias : kAliases) {
    if (alias.name == key) return "stands as " + dotted(alias.section, alias.key) + " here";
  }
  for (const Reason& reason : kReasons) {
    const bool prefix = reason.name.back() == '*';
    const std::string_view name = reason.name.substr(0, reason.name.size() - (prefix ? 1 : 0));
    if (key == name || (prefix && std::string_view(key).substr(0, name.size()) == name)) return std::string(reason.why);
  }
  std::vector<std::string> found;
  find_paths(fields::field_infos(fields::run_fields()), "", key, found);
  if (found.empty() || section.rfind("rewards.", 0) == 0) return "";
  std::string text =
      "is no key of " + (section.empty() ? std::string("the top level") : "`" + section + "`") + "; it stands as ";
  for (std::size_t i = 0; i < found.size(); ++i) text += (i ? " or " : "") + found[i];
  return text;
}

}  // namespace grpo
