#include "base/known_names.h"

#include <utility>
#include <vector>

#include "base/config_fields.h"
#include "base/tree_path.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr Alias kAliases[] = {
    {"steps", "max_steps"},
    {"run_name", "name"},
    {"save_steps", "save_every"},
    {"save_total_limit", "keep_checkpoints"},
    {"metric_for_best_model", "eval.best"},
    {"max_prompt_length", "data.max_prompt_length"},
    {"model.model_name_or_path", "model.path"},
    {"model.torch_dtype", "model.dtype"},
    {"data.shuffle_dataset", "data.shuffle"},
    {"data.chat_template_kwargs", "data.template_variables"},
    {"grpo.max_prompt_length", "data.max_prompt_length"},
    {"grpo.multi_objective_aggregation", "grpo.aggregation"},
    {"grpo.ref_model_sync_steps", "grpo.ref_sync_steps"},
    {"grpo.ref_model_mixup_alpha", "grpo.ref_mixup_alpha"},
    {"grpo.vllm_importance_sampling_mode", "grpo.sampler_correction"},
    {"grpo.vllm_importance_sampling_clip_max", "grpo.sampler_correction_max"},
    {"grpo.vllm_importance_sampling_clip_min", "grpo.sampler_correction_min"},
    {"sft.max_seq_length", "sft.max_length"},
    {"train.gradient_checkpointing", "train.recompute"},
    {"optimizer.lr_scheduler_type", "optimizer.schedule"},
    {"optimizer.adam_beta1", "optimizer.beta1"},
    {"optimizer.adam_beta2", "optimizer.beta2"},
    {"optimizer.adam_epsilon", "optimizer.epsilon"},
    {"eval.eval_steps", "eval.every"},
    {"eval.num_generations_eval", "eval.num_generations"},
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
constexpr std::string_view kParams = "has no meaning here: a reward's parameters are its `params`";
constexpr std::string_view kWhole = "is not supported: all weights are trained";
constexpr std::string_view kData = "has no meaning here: rows come from the JSONL file data.train";
constexpr std::string_view kAssistant =
    "has no meaning here: always the completion, or the assistant's turns, are trained";
constexpr std::string_view kLocal = "has no meaning here: runs are written to output_dir and nowhere else";

constexpr Reason kReasons[] = {
    {"use_vllm", kOneEngine},
    {"vllm_*", kOneEngine},
    {"use_transformers_*", kOneEngine},
    {"transformers_*", kOneEngine},
    {"use_cache", kOneEngine},
    {"cache_implementation", kOneEngine},
    {"generation_kwargs", "has no meaning here: sampling options are keys of `grpo`"},
    {"ds3_gather_for_generation", kOneEngine},
    {"fp16", "is not supported: write model.dtype: bf16 or fp32"},
    {"bf16", "is written model.dtype: bf16 here"},
    {"tf32", "is not supported: products are fp32 or bf16"},
    {"bf16_full_eval", "has no meaning here: evaluation computes as training does"},
    {"fp16_full_eval", "has no meaning here: evaluation computes as training does"},
    {"cast_lm_head_to_fp32", "has no meaning here: the head's softmax is always fp32"},
    {"model_init_kwargs", "has no meaning here: model.dtype is the one choice"},
    {"trust_remote_code", "has no meaning here: no code is taken from a model's folder"},
    {"pad_to_multiple_of", kPacked},
    {"padding_free", kPacked},
    {"packing*", kPacked},
    {"eval_packing", kPacked},
    {"pad_token", kPacked},
    {"group_by_length", kPacked},
    {"disable_dropout", "has no meaning here: there is no dropout"},
    {"remove_unused_columns", "has no meaning here: rewards see every column"},
    {"per_device_train_batch_size", kBatch},
    {"per_device_eval_batch_size", kBatch},
    {"gradient_accumulation_steps", kBatch},
    {"generation_batch_size", kBatch},
    {"auto_find_batch_size", kBatch},
    {"gradient_checkpointing_*", "has no meaning here: train.recompute computes whole layers again"},
    {"activation_checkpointing*", "is written train.recompute here"},
    {"activation_offloading", "is not supported: write train.recompute, or lower micro_batch_tokens"},
    {"use_liger_kernel", kOwnMemory},
    {"liger_kernel_config", kOwnMemory},
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
    {"ddp_*", "has no meaning here: one process trains"},
    {"fsdp*", "has no meaning here: sharding is our own"},
    {"deepspeed", "has no meaning here: sharding is our own"},
    {"save_only_model", "is not supported: a checkpoint holds what --resume needs"},
    {"load_best_model_at_end", "has no meaning here: eval.best marks the best checkpoint, export --best takes it"},
    {"greater_is_better", "has no meaning here: eval.best has a - before a metric of which less is better"},
    {"log_unique_prompts", "has no meaning here: completions.jsonl holds every prompt, its id beside it"},
    {"log_multimodal", "has no meaning here: models read text only"},
    {"overwrite_output_dir", "is not supported: a run never writes over another; choose another output_dir"},
    {"do_eval", "has no meaning here: write eval.data"},
    {"use_cpu", "has no meaning here: write device: cpu"},
    {"full_determinism", "has no meaning here: every run is deterministic"},
    {"attn_implementation", kOneEngine},
    {"optim", "has no meaning here: the optimiser is AdamW"},
    {"dataloader_*", "has no meaning here: the rows are in memory"},
    {"dataset_*", kData},
    {"system_prompt", "has no meaning here: write it into a `messages` column, or choose data.template"},
    {"use_peft", kWhole},
    {"lora_*", kWhole},
    {"load_in_*", "is not supported: weights are fp32 or bf16"},
    {"model_revision", "has no meaning here: model.path is a folder or file of this machine"},
    {"completion_only_loss", kAssistant},
    {"assistant_only_loss", kAssistant},
    {"truncation_mode", "has no meaning here: longer rows are an error or are left out, never cut; see sft.drop_long"},
    {"eos_token", "has no meaning here: it comes with the model and its tokenizer"},
    {"neftune_noise_alpha", "is not supported: nothing is added to embeddings"},
    {"label_smoothing_factor", "is not supported: a target is one token"},
    {"chat_template*", "has no meaning here: it comes with the tokenizer; data.template chooses how prompts are made"},
    {"lr_scheduler_kwargs", "has no meaning here: write optimizer.min_lr_ratio, step_size and step_gamma"},
    {"logging_strategy", "has no meaning here: every step is logged"},
    {"benchmarks", "has no meaning here: write eval.data"},
    {"callbacks", "has no meaning here: programs that link the library have on_step and on_rollout"},
    {"wandb_*", kLocal},
    {"trackio_*", kLocal},
    {"project", kLocal},
    {"cosine_*", kParams},
    {"repetition_*", kParams},
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

struct Place {
  std::string_view section, key;  // section "": the top level
};
Place place_of(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  return dot == path.npos ? Place{"", path} : Place{path.substr(0, dot), path.substr(dot + 1)};
}

// The section in the tree; null when there is none that holds keys.
Json* section_at(Json& tree, std::string_view name) {
  Json* section = &tree;
  if (!name.empty()) section = tree.find(name) ? &tree[name] : nullptr;
  return section && section->is_object() ? section : nullptr;
}

void rename_one(Json& tree, const Alias& alias) {
  const Place from = place_of(alias.path), to = place_of(alias.key);
  Json* section = section_at(tree, from.section);
  const Json* given = section ? section->find(from.key) : nullptr;
  if (!given) return;
  if (const Json* other = find_path(tree, std::string(alias.key))) {
    const bool is_near = from.section == to.section;
    const std::string where = given->where();
    throw Error((where.empty() ? "" : where + ": ") + std::string(alias.path) + ": expected one of \"" +
                std::string(from.key) + "\" and \"" + std::string(is_near ? to.key : alias.key) +
                "\", which mean the same, got both" +
                (other->line() > 0 ? " (the other in line " + std::to_string(other->line()) + ")" : ""));
  }
  if (from.section == to.section) {
    for (auto& entry : section->as_object()) {
      if (entry.first == from.key) entry.first = to.key;
    }
    return;
  }
  if (tree.find(to.section) && !section_at(tree, to.section)) return;  // reading will complain about that section
  Json value = *given;
  section->erase(from.key);
  tree[to.section][to.key] = std::move(value);
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

std::span<const Alias> aliases() { return kAliases; }

void rename_aliases(Json& tree) {
  if (!tree.is_object()) return;
  for (const Alias& alias : kAliases) rename_one(tree, alias);
  // Every document of the contract may carry `gates`; it can say nothing yet. `$schema` is the editor's.
  const Json* gates = tree.find("gates");
  if (gates && gates->is_list() && gates->size() == 0) tree.erase("gates");
  tree.erase("$schema");
}

std::string rename_alias(const std::string& path) {
  for (const Alias& alias : kAliases) {
    if (alias.path == path) return std::string(alias.key);
  }
  return path;
}

std::string explain_key(const std::string& section, const std::string& key) {
  for (const Alias& alias : kAliases) {
    if (place_of(alias.path).key == key) return "stands as " + std::string(alias.key) + " here";
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

}  // namespace grpo::inline GRPO_ABI
