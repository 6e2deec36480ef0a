#include "model/batch_plan.h"

#include <set>

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "model/kv_cache.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Rows are tiled by the sequences; prefixes are earlier and themselves without one.
void check_sequences(const TokenBatch& batch) {
  GRPO_CHECK(!batch.tokens.empty(), "forward: expected at least one token");
  std::int64_t row = 0;
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const BatchSequence& s = batch.sequences[i];
    GRPO_CHECK(s.begin == row && s.end > s.begin,
               fmt::format("forward: sequences[{}]: expected rows from {} on, got [{}, {}) (sequences tile the tokens)",
                           i, row, s.begin, s.end));
    row = s.end;
    if (s.prefix == -1) continue;
    GRPO_CHECK(s.prefix >= 0 && static_cast<std::size_t>(s.prefix) < i,
               fmt::format("forward: sequences[{}].prefix: expected -1 or an earlier sequence, got {}", i, s.prefix));
    GRPO_CHECK(batch.sequences[static_cast<std::size_t>(s.prefix)].prefix == -1,
               fmt::format("forward: sequences[{}].prefix: sequence {} has a prefix itself", i, s.prefix));
  }
  GRPO_CHECK(row == static_cast<std::int64_t>(batch.tokens.size()),
             fmt::format("forward: sequences cover {} tokens, expected all {}", row, batch.tokens.size()));
}

void check_cached(const TokenBatch& batch, const ModelConfig& config, DType dtype, KvCache::Impl& cache) {
  GRPO_CHECK(cache.stores.size() == static_cast<std::size_t>(config.num_layers) &&
                 cache.heads.kv == config.num_kv_heads && cache.heads.size == config.head_dim && cache.dtype == dtype,
             "forward: the cache was made for another model");
  std::set<std::int32_t> seen;
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const BatchSequence& s = batch.sequences[i];
    GRPO_CHECK(s.prefix == -1,
               fmt::format("forward: sequences[{}].prefix: expected -1 with a cache (fork shares a prefix)", i));
    cache.at(s.cache, "forward");
    GRPO_CHECK(seen.insert(s.cache).second,
               fmt::format("forward: sequences[{}].cache: sequence {} occurs twice in the batch", i, s.cache));
  }
}

}  // namespace

BatchPlan plan_batch(const TokenBatch& batch, const ModelConfig& config, DType dtype, KvCache::Impl* cache) {
  check_sequences(batch);
  if (cache) check_cached(batch, config, dtype, *cache);
  const auto num_tokens = static_cast<std::int64_t>(batch.tokens.size());
  at::Tensor ids = at::empty({num_tokens}, at::kInt), positions = at::empty({num_tokens}, at::kInt);
  auto* id_at = ids.data_ptr<std::int32_t>();
  auto* position_at = positions.data_ptr<std::int32_t>();

  for (std::int64_t row = 0; row < num_tokens; ++row) {
    const std::int32_t id = batch.tokens[static_cast<std::size_t>(row)];
    GRPO_CHECK(id >= 0 && id < config.vocab_size,
               fmt::format("forward: tokens[{}]: expected an id from 0 to {}, got {}", row, config.vocab_size - 1, id));
    id_at[row] = id;
  }

  std::int64_t max_position = 0;
  std::vector<PackedSequence> packed;
  std::vector<CachedSequence> cached;
  std::vector<KvCache::Impl::Growth> growth;
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const BatchSequence& s = batch.sequences[i];
    std::int64_t start = 0;
    if (cache) {
      start = cache->at(s.cache, "forward").length;
      growth.push_back({s.cache, s.end - s.begin});
    } else {
      GRPO_CHECK(s.cache == -1,
                 fmt::format("forward: sequences[{}].cache: expected -1 without a cache, got {}", i, s.cache));
      if (s.prefix >= 0) {
        const BatchSequence& prefix = batch.sequences[static_cast<std::size_t>(s.prefix)];
        start = prefix.end - prefix.begin;
      }
      packed.push_back({s.begin, s.end, s.prefix});
    }
    const std::int64_t length = start + s.end - s.begin;
    GRPO_CHECK(length <= config.max_positions,
               fmt::format("forward: sequences[{}] is {} tokens long, the model's context is {}", i, length,
                           config.max_positions));
    for (std::int64_t row = s.begin; row < s.end; ++row)
      position_at[row] = static_cast<std::int32_t>(start + row - s.begin);
    if (length > max_position + 1) max_position = length - 1;
  }
  const AttentionHeads heads = attention_heads(config);
  if (!cache) return {std::move(ids), std::move(positions), max_position, {heads, std::move(packed), {}}};

  cache->grow(growth);
  for (const BatchSequence& s : batch.sequences) {
    const KvCache::Impl::Sequence& sequence = cache->at(s.cache, "forward");
    cached.push_back({s.begin, s.end, sequence.length, sequence.blocks.data()});
  }
  return {std::move(ids),
          std::move(positions),
          max_position,
          {heads, {}, ops::DecoderCache{heads, std::move(cached), &cache->stores, &cache->scratch}}};
}

}  // namespace grpo::inline GRPO_ABI
