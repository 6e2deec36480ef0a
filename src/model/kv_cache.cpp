#include "model/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "ops/pool.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::int64_t blocks_for(std::int64_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }

}  // namespace

AttentionHeads attention_heads(const ModelConfig& c) {
  return {c.num_heads, c.num_kv_heads, c.head_dim, 1.0 / std::sqrt(static_cast<double>(c.head_dim))};
}

KvCache::Impl::Sequence& KvCache::Impl::at(std::int32_t sequence, const char* function) {
  const bool live = sequence >= 0 && static_cast<std::size_t>(sequence) < sequences.size() &&
                    sequences[static_cast<std::size_t>(sequence)].live;
  GRPO_CHECK(live, fmt::format("{}: cache sequence {} is not open", function, sequence));
  return sequences[static_cast<std::size_t>(sequence)];
}

std::int32_t KvCache::Impl::take_block() {
  GRPO_ASSERT(!free.empty());
  const std::int32_t block = free.back();
  free.pop_back();
  num_owners[static_cast<std::size_t>(block)] = 1;
  return block;
}

void KvCache::Impl::release(Sequence& sequence) {
  for (const std::int32_t block : sequence.blocks) {
    if (--num_owners[static_cast<std::size_t>(block)] == 0) free.push_back(block);
  }
  sequence = {};
}

void KvCache::Impl::grow(const std::vector<Growth>& growth) {
  std::int64_t wanted = 0;
  for (const auto& [id, tokens] : growth) {
    const Sequence& sequence = at(id, "forward");
    wanted += std::max<std::int64_t>(
        0, blocks_for(sequence.length + tokens) - static_cast<std::int64_t>(sequence.blocks.size()));
  }
  GRPO_CHECK(wanted <= static_cast<std::int64_t>(free.size()),
             fmt::format("forward: the cache is full: {} more blocks of {} positions are needed, {} of {} are free",
                         wanted, kKvBlock, free.size(), num_blocks));
  for (const auto& [id, tokens] : growth) {
    Sequence& sequence = at(id, "forward");
    const auto count = static_cast<std::size_t>(blocks_for(sequence.length + tokens));
    while (sequence.blocks.size() < count) sequence.blocks.push_back(take_block());
  }
}

KvCache::KvCache(const CausalLM& model, std::int64_t capacity_tokens) : impl_(std::make_unique<Impl>()) {
  GRPO_CHECK(capacity_tokens > 0 && capacity_tokens <= (std::int64_t{1} << 31),
             fmt::format("KvCache: expected a capacity from 1 to 2^31 tokens, got {}", capacity_tokens));
  impl_->num_blocks = blocks_for(capacity_tokens);
  impl_->heads = attention_heads(model.config());
  impl_->dtype = model.dtype();
  const at::ScalarType type = model.dtype() == DType::Float32 ? at::kFloat : at::kBFloat16;
  for (std::int64_t layer = 0; layer < model.config().num_layers; ++layer) {
    impl_->stores.push_back(ops::pooled({impl_->num_blocks * kv_block_elements(impl_->heads)}, type));
  }
  impl_->num_owners.assign(static_cast<std::size_t>(impl_->num_blocks), 0);
  for (std::int64_t block = impl_->num_blocks - 1; block >= 0; --block) {
    impl_->free.push_back(static_cast<std::int32_t>(block));
  }
}

KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;
KvCache::~KvCache() = default;

std::int32_t KvCache::open() {
  auto& sequences = impl_->sequences;
  auto place = std::find_if(sequences.begin(), sequences.end(), [](const Impl::Sequence& s) { return !s.live; });
  if (place == sequences.end()) place = sequences.insert(place, Impl::Sequence{});
  place->live = true;
  return static_cast<std::int32_t>(place - sequences.begin());
}

std::int32_t KvCache::fork(std::int32_t sequence) {
  const std::int64_t length = impl_->at(sequence, "KvCache::fork").length;
  const bool partial = length % kKvBlock != 0;
  GRPO_CHECK(!partial || !impl_->free.empty(),
             "KvCache::fork: the cache is full: no block is free for the copy of the last one");
  const std::int32_t id = open();
  const Impl::Sequence& parent = impl_->at(sequence, "KvCache::fork");  // open() may have moved it
  Impl::Sequence& child = impl_->sequences[static_cast<std::size_t>(id)];
  child.length = length;
  const auto whole = static_cast<std::size_t>(length / kKvBlock);
  child.blocks.assign(parent.blocks.begin(), parent.blocks.begin() + static_cast<std::ptrdiff_t>(whole));
  for (const std::int32_t block : child.blocks) ++impl_->num_owners[static_cast<std::size_t>(block)];
  if (partial) {
    const std::int32_t copy = impl_->take_block();
    for (at::Tensor& store : impl_->stores) {
      copy_kv_block(store, impl_->heads, parent.blocks[whole], copy, length % kKvBlock);
    }
    child.blocks.push_back(copy);
  }
  return id;
}

void KvCache::close(std::int32_t sequence) { impl_->release(impl_->at(sequence, "KvCache::close")); }

std::int64_t KvCache::length(std::int32_t sequence) const { return impl_->at(sequence, "KvCache::length").length; }

std::int64_t KvCache::free_blocks() const { return static_cast<std::int64_t>(impl_->free.size()); }

std::int64_t KvCache::blocks_needed(std::int64_t length, std::int64_t tokens) {
  return blocks_for(length + tokens) - blocks_for(length);
}

}  // namespace grpo::inline GRPO_ABI
