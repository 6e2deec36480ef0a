#include "train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/memory.h"
#include "train/rollouts.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Prompts or conversations of the run, or what is assumed of them.
struct Rows {
  RowLengths lengths;
  std::int64_t num_rows = 0, num_too_long = 0;  // 0 rows: the file was not read
  std::string why_assumed;                      // "" when the lengths are the rows' own
};

Rows read_rows(const RunConfig& config, const ModelConfig& model) {
  Rows rows;
  const bool is_grpo = config.kind == RunKind::Grpo;
  const std::int64_t limit = is_grpo ? prompt_limit(model, config.data, config.grpo.loss.max_completion_length)
                                     : std::min<std::int64_t>(config.sft.max_length, model.max_positions);
  try {
    const Tokenizer tokenizer = Tokenizer::load(
        resolve_model_path(config.model.tokenizer.empty() ? config.model.path : config.model.tokenizer));
    const PromptBuilder builder(tokenizer, config.data);
    const Dataset dataset = Dataset::load(config.data.train, config.data.max_rows);
    for (std::size_t i = 0; i < dataset.size(); ++i) {
      const Json& row = dataset.row(i);
      const std::size_t length =
          is_grpo ? builder.build(row, i).ids.size() : builder.build_conversation(row).ids.size();
      if (static_cast<std::int64_t>(length) <= limit) rows.lengths.push_back(static_cast<std::int64_t>(length));
    }
    rows.num_rows = static_cast<std::int64_t>(dataset.size());
    rows.num_too_long = rows.num_rows - static_cast<std::int64_t>(rows.lengths.size());
    if (rows.lengths.empty()) rows.why_assumed = fmt::format("no row has at most {} tokens", limit);
  } catch (const Error& error) {
    rows.why_assumed = error.what();
  }
  if (!rows.why_assumed.empty()) rows.lengths = {limit};
  return rows;
}

Json lengths_json(const Rows& rows) {
  const std::vector<std::int64_t>& lengths = rows.lengths;
  const std::int64_t sum = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  Json json = Json::Object{{"source", rows.why_assumed.empty() ? "dataset" : "limit"},
                           {"mean", static_cast<double>(sum) / static_cast<double>(lengths.size())},
                           {"longest", *std::max_element(lengths.begin(), lengths.end())}};
  if (!rows.why_assumed.empty()) json["why"] = rows.why_assumed;
  return json;
}

// Means over the steps that the first rollout serves.
Json steps_json(const std::vector<PackedSizes>& steps) {
  std::int64_t tokens = 0, prompts = 0, batches = 0;
  for (const PackedSizes& step : steps) {
    tokens += step.tokens;
    prompts += step.prompts;
    batches += step.batches;
  }
  const auto mean = [&](std::int64_t sum) { return static_cast<double>(sum) / static_cast<double>(steps.size()); };
  return Json::Object{{"tokens", mean(tokens)}, {"prompts", mean(prompts)}, {"micro_batches", mean(batches)}};
}

void add_epochs(Json& batches, const Rows& rows, std::int64_t drawn) {
  if (rows.num_rows == 0) return;
  batches["rows"] = rows.num_rows;
  batches["rows_left_out"] = rows.num_too_long;
  batches["epochs"] = static_cast<double>(drawn) / static_cast<double>(rows.lengths.size());
}

void add_grpo(Json& plan, const RunConfig& config, const Rows& rows) {
  const GrpoSection& grpo = config.grpo;
  const std::int64_t per_rollout = std::int64_t{grpo.prompts_per_step} * grpo.steps_per_generation;
  const std::int64_t answers = per_rollout * grpo.num_generations;
  const std::int64_t steps = std::int64_t{grpo.steps_per_generation} * grpo.num_iterations;
  const std::int64_t rollouts = (config.max_steps + steps - 1) / steps;
  Json batches = Json::Object{{"max_steps", config.max_steps},
                              {"prompts_per_step", grpo.prompts_per_step},
                              {"answers_per_step", std::int64_t{grpo.prompts_per_step} * grpo.num_generations},
                              {"steps_per_rollout", steps},
                              {"rollouts", rollouts},
                              {"prompts_per_rollout", per_rollout},
                              {"answers_per_rollout", answers}};
  add_epochs(batches, rows, rollouts * per_rollout);
  plan["batches"] = std::move(batches);
  Json per_step = Json::Object{};
  for (const auto& [name, split] :
       {std::pair{"groups", MinibatchSplit::Groups}, std::pair{"completions", MinibatchSplit::Completions}})
    per_step[name] = steps_json(step_sizes(config, rows.lengths, split));
  plan["tokens"] =
      Json::Object{{"prompt_lengths", lengths_json(rows)},
                   {"answer_length", grpo.loss.max_completion_length},
                   {"sampled_per_rollout", answers * grpo.loss.max_completion_length},
                   {"minibatch_split", grpo.minibatch_split == MinibatchSplit::Groups ? "groups" : "completions"},
                   {"per_step", std::move(per_step)}};
}

void add_sft(Json& plan, const RunConfig& config, const Rows& rows) {
  Json batches = Json::Object{{"max_steps", config.max_steps}, {"conversations_per_step", config.sft.batch_size}};
  add_epochs(batches, rows, std::int64_t{config.max_steps} * config.sft.batch_size);
  plan["batches"] = std::move(batches);
  plan["tokens"] = Json::Object{{"conversation_lengths", lengths_json(rows)},
                                {"per_step", steps_json({sft_step_sizes(config, rows.lengths)})}};
}

}  // namespace

Json plan_model(const ModelConfig& model, DType dtype) {
  // Every weight of these families meets every token, but for the rows of the look-up.
  std::int64_t multiplied = 0;
  const std::vector<WeightShape> weights = weight_shapes(model);
  for (const WeightShape& weight : weights)
    if (weight.shape.size() == 2) multiplied += weight.shape[0] * weight.shape[1];
  if (!model.tie_embeddings) multiplied -= model.vocab_size * model.hidden_size;
  const std::int64_t cached = 2 * model.num_layers * model.num_kv_heads * model.head_dim;
  const std::int64_t total = num_parameters(model);
  return Json::Object{
      {"total", total},
      {"active", total},
      {"cache_elements_per_token", cached},
      {"cache_bytes_per_token", cached * (dtype == DType::Float32 ? 4 : 2)},
      {"flops_per_token", 2 * multiplied},
      {"attention_flops_per_token_and_position", 4 * model.num_layers * model.num_heads * model.head_dim}};
}

Json plan_run(const RunConfig& config, int ranks, int machines) {
  const ModelConfig model = load_model_config(resolve_model_path(config.model.path));
  const Rows rows = read_rows(config, model);
  Json plan = plan_model(model, config.model.dtype);
  plan["kind"] = config.kind == RunKind::Grpo ? "grpo" : "sft";
  if (config.kind == RunKind::Grpo) {
    add_grpo(plan, config, rows);
  } else {
    add_sft(plan, config, rows);
  }
  const std::int64_t available = available_memory((ranks + machines - 1) / machines);
  const bool recompute =
      plan_recompute(config, model, rows.lengths, ranks, available - resident_bytes(config, model, ranks).total());
  const auto bytes_if = [&](bool is_on) { return plan_bytes(config, model, rows.lengths, ranks, is_on); };
  const std::vector<PhaseBytes> phases = bytes_if(recompute);
  Json per_rank = Json::Object{};
  for (const PhaseBytes& phase : phases) {
    Json parts = Json::Object{};
    for (const auto& [name, bytes] : phase.parts) parts[name] = bytes;
    parts["total"] = phase.total();
    per_rank[phase.phase] = std::move(parts);
  }
  plan["bytes"] = Json::Object{{"ranks", ranks},
                               {"per_rank", std::move(per_rank)},
                               {"peak", peak_bytes(phases)},
                               {"available", available},
                               {"recompute", Json::Object{{"chosen", recompute ? "on" : "off"},
                                                          {"update_off", update_bytes(bytes_if(false))},
                                                          {"update_on", update_bytes(bytes_if(true))}}}};
  return plan;
}

}  // namespace grpo::inline GRPO_ABI
