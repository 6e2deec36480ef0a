// Causal attention over blocks of 32 positions, for training, prefill and decode alike.
//
// A sequence sees the positions [0, p] of its own history: a shared prompt and what follows. Keys and values live in
// blocks of 32 positions counted from position 0. One block holds, for each kv head in turn,
//   keys   [2][head][16]: position j at (j/16)(16 head) + 16 d + j%16     (transposed: SIMD runs over positions)
//   values [head/16][32][16]: element d of position j at (d/16)(32*16) + 16 j + d%16
// in the compute type; entries are rounded to it once, after rotary. `head` is a multiple of 16.
//
// Order of summation per (row, query head): blocks ascending; score_j = FMA chain over d ascending; running maximum and
// sum per block; output FMA chain over j ascending. Positions after p take no part, whatever their blocks hold. So a
// row's result depends on nothing but its own history.
#pragma once

#include <cstdint>

#include "kernels/linear.h"
#include "kernels/threads.h"
#include "kernels/types.h"

namespace grpo::kernels {

inline constexpr std::int64_t kBlock = 32;

struct AttentionShape {
  Type type = Type::F32;
  std::int64_t query_heads = 0, kv_heads = 0, head = 0;
  float scale = 0;
  std::int64_t block_elements() const { return kv_heads * 2 * kBlock * head; }
};

// Rows [row_begin, row_end) of the batch stand at positions start, start + 1, ... (backward: start is 0 without a
// parent).
struct AttentionSequence {
  std::int64_t row_begin = 0, row_end = 0;
  std::int64_t start = 0;
  // Block number of positions [32 i, 32 i + 32), for all positions up to the last row's.
  const std::int32_t* blocks = nullptr;
  // Backward only: sequence (earlier, itself without parent) whose rows are positions [0, start).
  std::int32_t parent = -1;
};

// Writes the rows' keys and values ([rows, kv_heads, head]) to their blocks.
void write_kv(const AttentionShape& shape, const void* k, const void* v, const AttentionSequence* sequences,
              std::int64_t num_sequences, void* store, const Team& team);
// The same for one head of one row, [head], to position `place` of a block.
void write_kv_head(const AttentionShape& shape, const void* k, const void* v, std::int64_t kv_head, std::int64_t block,
                   std::int64_t place, void* store);
// Copies positions [0, count) of one block to another (count <= 32).
void copy_block(const AttentionShape& shape, void* store, std::int32_t from, std::int32_t to, std::int64_t count);

// out [rows, query_heads, head]; lse [rows, query_heads] (log of the sum of exp of scaled scores) or null.
void attention(const AttentionShape& shape, const void* q, const void* store, const AttentionSequence* sequences,
               std::int64_t num_sequences, void* out, float* lse, Isa isa, const Team& team);

// dq [rows, query_heads, head], dk and dv [rows, kv_heads, head], written (not added); dk and dv of a parent's rows sum
// over itself and every sequence that continues it, in sequence order. All of shape.type; sums are fp32. Rows [0, rows)
// that belong to no sequence get 0. One thread serves a prompt with all that continues it, per kv head.
struct AttentionGrads {
  const void* q;
  const void* store;
  const void* out;
  const float* lse;
  const void* dout;
  void* dq;
  void* dk;
  void* dv;
};
void attention_backward(const AttentionShape& shape, const AttentionGrads& grads, const AttentionSequence* sequences,
                        std::int64_t num_sequences, std::int64_t rows, Isa isa, const Team& team);

}  // namespace grpo::kernels
