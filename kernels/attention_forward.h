// The forward pass of kernels/attention.h, one unit of work at a time.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/attention_tiles.h"
#include "kernels/panel.h"

namespace grpo::kernels {

// What one call reads and writes; out and lse as in attention().
struct AttentionCall {
  AttentionShape shape;
  const void* q = nullptr;
  const void* store = nullptr;
  const AttentionSequence* sequences = nullptr;
  void* out = nullptr;
  float* lse = nullptr;
  PanelKernels panels;
  const VectorKernels* vectors = nullptr;
};

// A unit of work is a bundle of tiles for one kv head. The tiles of a bundle have their first `shared` blocks in common
// and go through them together, so that a prompt's keys are read once for many of its answers.
struct AttentionBundle {
  std::int64_t first = 0, count = 0;  // tiles
  std::int64_t shared = 0;
};
struct AttentionPlan {
  std::vector<AttentionTile> tiles;
  std::vector<AttentionBundle> bundles;
  bool tile_each = true;  // every sequence has one tile
  std::int64_t kv_heads = 0;
  std::int64_t products = 0;  // multiply-adds

  // Units are numbered head by head, so that bundles of one prompt find its blocks in the cache.
  std::int64_t num_units() const { return num_bundles() * kv_heads; }
  const AttentionBundle& bundle(std::int64_t unit) const { return bundles[unit % num_bundles()]; }
  std::int64_t kv_head(std::int64_t unit) const { return unit / num_bundles(); }
  std::int64_t num_bundles() const { return static_cast<std::int64_t>(bundles.size()); }
};
AttentionPlan plan_attention(const AttentionShape& shape, const AttentionSequence* sequences,
                             std::int64_t num_sequences, int threads);

// The queries of one bundle for one kv head, (row, query head) pairs as rows, and what belongs to them.
class AttentionWorker {
 public:
  explicit AttentionWorker(const AttentionCall& call)
      : call_(call),
        type_(typed(*call.vectors, call.shape.type)),
        head_(call.shape.head),
        group_(group_size(call.shape)),
        most_(tile_rows(call.shape) * group_),
        q_(float_scratch(most_ * head_)),
        out_(float_scratch(most_ * head_)),
        scores_(float_scratch(most_ * kBlock)),
        max_(float_scratch(most_)),
        sum_(float_scratch(most_)) {}

  void run(const AttentionPlan& plan, std::int64_t unit) {
    const AttentionBundle& bundle = plan.bundle(unit);
    const AttentionTile* tiles = plan.tiles.data() + bundle.first;
    const std::int64_t kv_head = plan.kv_head(unit);
    std::int64_t rows = 0;
    for (std::int64_t i = 0; i < bundle.count; ++i) {
      for (std::int64_t t = 0; t < tiles[i].rows; ++t, rows += group_) {
        type_.widen(element(call_.shape.type, call_.q, query(tiles[i], t, kv_head)), group_ * head_, &q_[rows * head_]);
      }
    }
    std::fill_n(max_.get(), rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum_.get(), rows, 0.0f);
    for (std::int64_t b = 0; b < bundle.shared; ++b) {
      const void* keys = block(tiles[0].sequence, b, kv_head);
      if (b + 1 < bundle.shared) fetch_positions(block(tiles[0].sequence, b + 1, kv_head), kBlock);
      for (std::int64_t i = bundle.count * b / bundle.shared; i < bundle.count * (b + 1) / bundle.shared; ++i)
        fetch_seen(tiles[i], bundle.shared, kv_head);
      scores(keys, 0, rows, kBlock);
      take(keys, 0, rows, kBlock, b == 0);
    }
    std::int64_t row = 0;
    for (std::int64_t i = 0; i < bundle.count; ++i, row += tiles[i - 1].rows * group_)
      finish(tiles[i], kv_head, bundle.shared, row);
  }

  // Asks for what a tile sees of block `b` ahead of its turn: decode reads blocks from all over the memory.
  void fetch_seen(const AttentionTile& tile, std::int64_t b, std::int64_t kv_head) const {
    fetch_positions(block(tile.sequence, b, kv_head), b < tile.block() ? kBlock : tile.position % kBlock + tile.rows);
  }

 private:
  // A tile's own blocks, from `b` on. Its rows begin at `row`.
  void finish(const AttentionTile& tile, std::int64_t kv_head, std::int64_t b, std::int64_t row) {
    const std::int64_t rows = tile.rows * group_, last = tile.block();
    for (; b < last; ++b) {
      const void* keys = block(tile.sequence, b, kv_head);
      fetch_seen(tile, b + 1, kv_head);
      scores(keys, row, rows, kBlock);
      take(keys, row, rows, kBlock, b == 0);
    }
    // In the last block each row sees as many positions as stand up to its own.
    const std::int64_t first = tile.position % kBlock;
    const void* keys = block(tile.sequence, last, kv_head);
    scores(keys, row, rows, first + tile.rows);
    for (std::int64_t t = 0; t < tile.rows; ++t) take(keys, row + t * group_, group_, first + t + 1, last == 0);
    write(tile, kv_head, row);
  }

  std::int64_t query(const AttentionTile& tile, std::int64_t t, std::int64_t kv_head) const {
    return ((tile.row + t) * call_.shape.query_heads + kv_head * group_) * head_;
  }

  // Keys of a block, its values behind them.
  const void* block(std::int32_t sequence, std::int64_t b, std::int64_t kv_head) const {
    return element(call_.shape.type, call_.store,
                   call_.sequences[sequence].blocks[b] * call_.shape.block_elements() + kv_head * 2 * kBlock * head_);
  }

  // The first `count` positions of a block.
  void fetch_positions(const void* block, std::int64_t count) const {
    const Type type = call_.shape.type;
    fetch(type, block, 0, ceil_to(count, kHalfBlock) * head_);
    for (std::int64_t d = 0; d < head_; d += kPanel) fetch(type, block, kBlock * (head_ + d), count * kPanel);
  }

  // A product with keys or values, `from` elements into a block.
  void multiply(const void* block, std::int64_t from, PanelProduct<float> product) const {
    if (call_.shape.type == Type::F32) {
      product.b = static_cast<const float*>(block) + from;
      return call_.panels.f32.run(product);
    }
    call_.panels.halves.run({.a = product.a,
                             .a_row = product.a_row,
                             .rows = product.rows,
                             .inner = product.inner,
                             .b = static_cast<const PlainHalf*>(block) + from,
                             .b_panel = product.b_panel,
                             .columns = product.columns,
                             .c = product.c,
                             .c_row = product.c_row,
                             .accumulate = product.accumulate});
  }

  void scores(const void* keys, std::int64_t row, std::int64_t rows, std::int64_t count) {
    multiply(keys, 0,
             {.a = &q_[row * head_],
              .a_row = head_,
              .rows = rows,
              .inner = head_,
              .b_panel = kHalfBlock * head_,
              .columns = ceil_to(count, kPanel),
              .c = &scores_[row * kBlock],
              .c_row = kBlock});
  }

  // Softmax and output of rows [row, row + rows) over the first `count` positions of a block.
  void take(const void* keys, std::int64_t row, std::int64_t rows, std::int64_t count, bool first_block) {
    float* out = &out_[row * head_];
    call_.vectors->attention_rows({.scores = &scores_[row * kBlock],
                                   .rows = rows,
                                   .count = count,
                                   .scale = call_.shape.scale,
                                   .max = &max_[row],
                                   .sum = &sum_[row],
                                   .out = first_block ? nullptr : out,
                                   .head = head_});
    multiply(keys, kBlock * head_,
             {.a = &scores_[row * kBlock],
              .a_row = kBlock,
              .rows = rows,
              .inner = count,
              .b_panel = kBlock * kPanel,
              .columns = head_,
              .c = out,
              .c_row = head_,
              .accumulate = !first_block});
  }

  void write(const AttentionTile& tile, std::int64_t kv_head, std::int64_t row) {
    for (std::int64_t t = 0; t < tile.rows; ++t) {
      for (std::int64_t g = 0; g < group_; ++g) {
        const std::int64_t r = row + t * group_ + g;
        for (std::int64_t d = 0; d < head_; ++d) out_[r * head_ + d] /= sum_[r];
        if (call_.lse != nullptr) {
          call_.lse[(tile.row + t) * call_.shape.query_heads + kv_head * group_ + g] =
              static_cast<float>(max_[r] + std::log(static_cast<double>(sum_[r])));
        }
      }
      type_.narrow(&out_[(row + t * group_) * head_], group_ * head_,
                   element(call_.shape.type, call_.out, query(tile, t, kv_head)));
    }
  }

  const AttentionCall& call_;
  const VectorTypeKernels& type_;
  const std::int64_t head_, group_, most_;
  std::unique_ptr<float[]> q_, out_, scores_, max_, sum_;
};

}  // namespace grpo::kernels
