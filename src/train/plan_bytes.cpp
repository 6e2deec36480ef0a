#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "model/kv_cache.h"
#include "ops/head_sizes.h"
#include "rollout/sampler_sizes.h"
#include "train/plan.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct Sizes {
  std::int64_t element, width, feed_forward, query, kv, heads, kv_heads, layers, vocab;
  bool head_norms;  // of each query and key head
};
Sizes sizes_of(const ModelConfig& m, DType dtype) {
  const std::vector<WeightShape> weights = weight_shapes(m);
  const bool head_norms = std::any_of(weights.begin(), weights.end(),
                                      [](const WeightShape& weight) { return weight.name.ends_with("q_norm.weight"); });
  return {.element = dtype == DType::Float32 ? 4 : 2,
          .width = m.hidden_size,
          .feed_forward = m.intermediate_size,
          .query = m.num_heads * m.head_dim,
          .kv = m.num_kv_heads * m.head_dim,
          .heads = m.num_heads,
          .kv_heads = m.num_kv_heads,
          .layers = m.num_layers,
          .vocab = m.vocab_size,
          .head_norms = head_norms};
}

bool is_in_layer(const WeightShape& weight) { return weight.name.starts_with("model.layers."); }

std::int64_t cache_bytes(const Sizes& s, std::int64_t blocks) {
  return blocks * kKvBlock * 2 * s.kv * s.layers * s.element;
}

// A forward without a graph, in its widest place, and the sampler's logits.
std::int64_t forward_bytes(const Sizes& s, std::int64_t tokens) {
  const std::int64_t attention = 2 * s.width + 3 * s.query + 3 * s.kv, feed_forward = 3 * (s.width + s.feed_forward);
  return tokens * std::max(attention, feed_forward) * s.element + kSamplerLogitRows * s.vocab * 4;
}

// What a micro-batch keeps for its backward. Per layer and token: both norms' inputs, rotated queries, the attention's
// output, gate and up; keys and values in blocks; statistics of softmax and norms in fp32. With head norms their
// inputs, queries and keys, and their statistics. Once: the final norm's input and output; per target: log-prob,
// entropy, statistics, row and id. Recomputed: every layer's input, and the rest of one layer.
std::int64_t activation_bytes(const Sizes& s, const PackedSizes& batch, bool recompute) {
  const std::int64_t head_norms = s.head_norms ? (s.query + s.kv) * s.element + 4 * (s.heads + s.kv_heads) : 0;
  const std::int64_t per_token =
      (2 * s.width + 2 * s.query + 2 * s.feed_forward) * s.element + 4 * s.heads + 8 + head_norms;
  const std::int64_t layer = batch.most_tokens * per_token + cache_bytes(s, batch.most_blocks) / s.layers;
  const std::int64_t row = batch.most_tokens * s.width * s.element;
  return (recompute ? s.layers * row + layer : s.layers * layer) + 2 * row +
         batch.most_targets * (8 + ops::kTargetStatsBytes + 8);
}

// Weight gradients. They come as the backward of a micro-batch gives the activations of its layers back, so those of
// the only one are never there together with all of its activations.
std::int64_t weight_gradient_bytes(const RunConfig& config, const ModelConfig& model, int ranks) {
  std::int64_t all = 0, pieces = 0, in_layers = 0;
  for (const WeightShape& weight : weight_shapes(model)) {
    const std::int64_t count = parameter_elements(weight.shape, config.model.dtype);
    all += count;
    pieces += largest_piece(count, ranks);
    if (is_in_layer(weight)) in_layers += count;
  }
  // Stage 2: the pieces that are kept, and a layer's and the others' whole gradients during backward.
  const bool are_shed = ranks > 1 && config.distributed.zero_stage == 2;
  return 4 * (are_shed ? pieces + in_layers / model.num_layers + (all - in_layers) : (ranks > 1 ? all + pieces : all));
}

std::int64_t weight_gradient_bytes(const RunConfig& config, const ModelConfig& model, int ranks,
                                   const PackedSizes& batch, std::int64_t activations) {
  const std::int64_t all = weight_gradient_bytes(config, model, ranks);
  if (batch.batches > 1) return all;
  std::int64_t outside_layers = 0;
  for (const WeightShape& weight : weight_shapes(model))
    if (!is_in_layer(weight)) outside_layers += 4 * parameter_elements(weight.shape, config.model.dtype);
  return std::max(outside_layers, all - activations);
}

// Gradients in flight where they are most: at the head (logits of a slab, d hidden in fp32) or in the last layer.
std::int64_t backward_bytes(const Sizes& s, const PackedSizes& batch) {
  const std::int64_t rows = std::min(TokenLogprobsOptions{}.rows_per_chunk, batch.most_targets);
  const std::int64_t head = rows * (std::min(ops::kHeadSlab, s.vocab) * 4 + s.width * (s.element + 4)) +
                            batch.most_tokens * s.width * (s.element + 4);
  return std::max(head, batch.most_tokens * 3 * (s.width + s.feed_forward) * s.element);
}

// Blocks of the sampler's token budget.
std::int64_t budget_blocks(const GrpoSection& grpo) {
  return (grpo.cache_tokens > 0 ? grpo.cache_tokens : SamplerOptions{}.cache_tokens) / kKvBlock;
}

// Blocks that the sampler's cache gets for the first rollout: its budget, or less when everything fits in less.
std::int64_t rollout_blocks(const GrpoSection& grpo, const std::vector<std::int64_t>& prompts) {
  std::int64_t all = 0;
  for (const std::int64_t prompt : prompts)
    all += KvCache::blocks_needed(0, prompt) +
           grpo.num_generations * own_blocks(prompt, prompt + grpo.loss.max_completion_length);
  return std::min(all, budget_blocks(grpo));
}

PackedSizes largest(const std::vector<PackedSizes>& steps) {
  PackedSizes most;
  for (const PackedSizes& step : steps) {
    most.batches = std::max(most.batches, step.batches);
    most.tokens = std::max(most.tokens, step.tokens);
    most.most_tokens = std::max(most.most_tokens, step.most_tokens);
    most.most_targets = std::max(most.most_targets, step.most_targets);
    most.most_blocks = std::max(most.most_blocks, step.most_blocks);
  }
  return most;
}

PhaseBytes update_phase(const RunConfig& config, const ModelConfig& model, int ranks, const PackedSizes& batch,
                        bool recompute) {
  const Sizes s = sizes_of(model, config.model.dtype);
  const std::int64_t activations = activation_bytes(s, batch, recompute);
  return {"update",
          {{"gradients", weight_gradient_bytes(config, model, ranks, batch, activations)},
           {"activations", activations},
           {"backward", backward_bytes(s, batch)}}};
}

std::vector<PhaseBytes> grpo_phases(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths,
                                    int ranks, bool recompute) {
  const GrpoSection& grpo = config.grpo;
  const Sizes s = sizes_of(model, config.model.dtype);
  const RowOrder order(lengths.size(), config.seed, config.data.shuffle);
  std::vector<std::int64_t> prompts;
  const int num_prompts = grpo.prompts_per_step * grpo.steps_per_generation;
  prompts.reserve(static_cast<std::size_t>(num_prompts));
  for (int p = 0; p < num_prompts; ++p) prompts.push_back(lengths[order.row_at(static_cast<std::uint64_t>(p))]);
  const std::int64_t longest = *std::max_element(prompts.begin(), prompts.end());
  const std::int64_t length = grpo.loss.max_completion_length;
  const std::int64_t num_answers = static_cast<std::int64_t>(prompts.size()) * grpo.num_generations;
  const std::int64_t targets = num_answers / grpo.steps_per_generation * length;  // of a step
  const bool off_policy = grpo.steps_per_generation > 1 || grpo.num_iterations > 1;
  // An answer's ids, log-probs and text; per target of a step: row, id, mask, log-probs and advantage.
  const std::int64_t answers = num_answers * length * 12;
  const std::int64_t per_target = 4 + 4 + 1 + 8 + 8 + (off_policy ? 8 : 0) + (grpo.loss.beta > 0 ? 8 : 0);
  const PackedSizes batch = largest(step_sizes(config, lengths, grpo.minibatch_split));

  // A rank samples its share of the prompts: at worst the longest ones.
  std::sort(prompts.begin(), prompts.end(), std::greater<>());
  prompts.resize((prompts.size() + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks));
  const auto sampled = static_cast<std::int64_t>(prompts.size()) * grpo.num_generations;

  std::int64_t prefill = 0;
  for (const std::int64_t prompt : prompts) prefill += prompt;
  prefill = std::max({std::min(prefill, kPrefillTokens), longest, sampled});
  PhaseBytes rollout{"rollout", {}}, update = update_phase(config, model, ranks, batch, recompute);
  rollout.parts = {{"cache", cache_bytes(s, rollout_blocks(grpo, prompts))},
                   {"forward", forward_bytes(s, prefill)},
                   {"answers", answers}};
  update.parts.emplace_back("answers", answers + targets * per_target + batch.tokens * 4);
  return {rollout, update};
}

// What no setting but those named can make smaller, with rows as long as the longest: they may meet at any step.
struct LeastBytes {
  std::string what;
  std::int64_t bytes;
  std::string bounds;
};

// The update's comes last.
std::vector<LeastBytes> least_bytes(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths,
                                    int ranks, bool recompute) {
  const Sizes s = sizes_of(model, config.model.dtype);
  const bool is_off = config.train.recompute == Recompute::Off && model.num_layers > 1;
  const auto update = [&](const PackedSizes& batch, const std::string& bounds) {
    return LeastBytes{fmt::format("one micro-batch of the update ({} tokens)", batch.most_tokens),
                      update_phase(config, model, ranks, batch, recompute).total(),
                      bounds + (is_off ? ", or leave train.recompute to auto" : "")};
  };
  const RowLengths longest = {*std::max_element(lengths.begin(), lengths.end())};
  if (config.kind == RunKind::Sft)
    return {update(sft_step_sizes(config, longest),
                   fmt::format("sft.micro_batch_tokens (now {}) or sft.max_length (now {})",
                               micro_batch_tokens(config.sft.micro_batch_tokens), config.sft.max_length))};
  const GrpoSection& grpo = config.grpo;
  const std::int64_t length = grpo.loss.max_completion_length;
  const std::string answer = fmt::format("grpo.max_completion_length (now {})", length);
  return {{fmt::format("one answer of the sampler ({} tokens)", longest[0] + length),
           cache_bytes(s, KvCache::blocks_needed(0, longest[0]) + own_blocks(longest[0], longest[0] + length)) +
               forward_bytes(s, longest[0]),
           answer},
          update(largest(step_sizes(config, longest, grpo.minibatch_split)),
                 fmt::format("grpo.micro_batch_tokens (now {}) or {}", micro_batch_tokens(grpo.micro_batch_tokens),
                             answer))};
}

}  // namespace

std::int64_t PhaseBytes::total() const {
  std::int64_t sum = 0;
  for (const auto& [name, bytes] : parts) sum += bytes;
  return sum;
}

std::int64_t PhaseBytes::part(const std::string& name) const {
  for (const auto& [key, bytes] : parts)
    if (key == name) return bytes;
  return 0;
}

PhaseBytes resident_bytes(const RunConfig& config, const ModelConfig& model, int ranks) {
  std::int64_t all = 0, matrices = 0, pieces = 0;
  for (const WeightShape& weight : weight_shapes(model)) {
    const std::int64_t count = parameter_elements(weight.shape, config.model.dtype);
    all += count;
    pieces += largest_piece(count, ranks);
    if (weight.shape.size() == 2) matrices += count;
  }
  const std::int64_t compute =
      config.model.dtype == DType::BFloat16 ? 2 * matrices : 0;  // fp32: the masters themselves
  PhaseBytes resident{"resident", {{"masters", 4 * all}, {"weights", compute}, {"moments", 8 * pieces}}};
  if (config.kind == RunKind::Grpo && config.grpo.loss.beta > 0)
    resident.parts.emplace_back("reference", 4 * all + compute);
  return resident;
}

std::vector<PhaseBytes> plan_bytes(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths,
                                   int ranks, bool recompute) {
  const Sizes s = sizes_of(model, config.model.dtype);
  std::vector<PhaseBytes> phases;
  if (config.kind == RunKind::Grpo) {
    phases = grpo_phases(config, model, lengths, ranks, recompute);
  } else {
    const PackedSizes batch = sft_step_sizes(config, lengths);
    phases = {update_phase(config, model, ranks, batch, recompute)};
  }
  if (!config.eval.data.empty()) {  // its cache is bounded by the same budget
    phases.push_back(
        {"evaluation",
         {{"cache", cache_bytes(s, budget_blocks(config.grpo))}, {"forward", forward_bytes(s, kPrefillTokens)}}});
  }
  std::int64_t largest = 0;  // is written and read one tensor at a time, in logical and in packed order
  for (const WeightShape& weight : weight_shapes(model))
    largest = std::max(largest, parameter_elements(weight.shape, config.model.dtype));
  phases.push_back({"checkpoint", {{"copies", 8 * largest}}});
  const PhaseBytes resident = resident_bytes(config, model, ranks);
  for (PhaseBytes& phase : phases)
    phase.parts.insert(phase.parts.begin(), resident.parts.begin(), resident.parts.end());
  return phases;
}

std::int64_t peak_bytes(const std::vector<PhaseBytes>& phases) {
  std::int64_t peak = 0;
  for (const PhaseBytes& phase : phases) peak = std::max(peak, phase.total());
  return peak;
}

std::int64_t update_bytes(const std::vector<PhaseBytes>& phases) {
  return std::find_if(phases.begin(), phases.end(), [](const PhaseBytes& phase) { return phase.phase == "update"; })
      ->total();
}

bool plan_recompute(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths, int ranks,
                    std::int64_t available) {
  const Recompute given = config.train.recompute;
  GRPO_CHECK(given != Recompute::On || model.num_layers > 1,
             "train.recompute: on saves nothing in a model of one layer; leave it out");
  if (given != Recompute::Auto || available <= 0) return given == Recompute::On;
  const std::int64_t resident = resident_bytes(config, model, ranks).total();
  const auto update = [&](bool recompute) {
    return update_bytes(plan_bytes(config, model, lengths, ranks, recompute)) - resident;
  };
  const auto micro_batch = [&](bool recompute) {
    return least_bytes(config, model, lengths, ranks, recompute).back().bytes;
  };
  return (update(false) > available && update(true) <= available) ||
         (micro_batch(false) > available && micro_batch(true) <= available);
}

void check_memory(const RunConfig& config, const ModelConfig& model, int ranks, std::int64_t available) {
  PhaseBytes least = resident_bytes(config, model, ranks);
  least.parts.emplace_back("gradients", weight_gradient_bytes(config, model, ranks));
  if (available <= 0 || least.total() <= available) return;
  std::string parts;
  for (const auto& [name, bytes] : least.parts)
    parts += fmt::format("{}{} {} MiB", parts.empty() ? "" : ", ", name, bytes >> 20);
  throw Error(fmt::format("memory: training this model needs {} MiB without any token ({}), {} MiB are available",
                          least.total() >> 20, parts, available >> 20));
}

void check_step_memory(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths, int ranks,
                       std::int64_t available, bool recompute) {
  if (available <= 0) return;
  for (const auto& [what, bytes, bounds] : least_bytes(config, model, lengths, ranks, recompute))
    GRPO_CHECK(bytes <= available, fmt::format("memory: {} may take {} MiB, {} MiB are free; lower {}", what,
                                               bytes >> 20, available >> 20, bounds));
  const std::int64_t more =
      peak_bytes(plan_bytes(config, model, lengths, ranks, recompute)) - resident_bytes(config, model, ranks).total();
  if (more > available)
    log::warn(
        fmt::format("memory: the worst case would take {} MiB more, {} MiB are free (grpo plan says where; "
                    "grpo.cache_tokens and grpo.micro_batch_tokens bound it)",
                    more >> 20, available >> 20));
}

}  // namespace grpo::inline GRPO_ABI
