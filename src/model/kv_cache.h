// KvCache's inside: which blocks belong to which sequence, and the blocks themselves.
#pragma once

#include <cstdint>
#include <vector>

#include <grpo/model.h>

namespace grpo::inline GRPO_ABI {

struct KvCache::Impl {
  struct Sequence {
    bool live = false;
    std::int64_t length = 0;
    std::vector<std::int32_t> blocks;  // for positions [32 i, 32 i + 32)
  };

  std::int64_t num_blocks = 0;
  AttentionHeads heads;
  DType dtype = DType::Float32;
  std::vector<at::Tensor> stores;  // per layer [num_blocks * block elements]; pages are committed as they are written
  at::Tensor scratch;              // of the forwards over this cache
  std::vector<std::int32_t> free;  // a stack: used pages are used again first
  std::vector<std::int32_t> num_owners;  // per block: sequences that hold it
  std::vector<Sequence> sequences;

  Sequence& at(std::int32_t sequence, const char* function);
  std::int32_t take_block();
  void release(Sequence& sequence);
  // Makes room for `tokens` more positions of each sequence, for all of them or (with an Error) for none.
  struct Growth {
    std::int32_t sequence;
    std::int64_t tokens;
  };
  void grow(const std::vector<Growth>& growth);
};

AttentionHeads attention_heads(const ModelConfig& config);

// Blocks that a sequence of `length` positions holds of its own when its first `prefix` ones are another's: all but the
// prefix's whole blocks.
inline std::int64_t own_blocks(std::int64_t prefix, std::int64_t length) {
  return KvCache::blocks_needed(0, length) - prefix / kKvBlock;
}

}  // namespace grpo::inline GRPO_ABI
