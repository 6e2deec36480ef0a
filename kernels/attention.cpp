#include "kernels/attention.h"

#include <cmath>
#include <limits>

#include "kernels/attention_tiles.h"
#include "kernels/panel.h"

namespace grpo::kernels {
namespace {

constexpr std::int64_t kProductsPerThread = 65536;  // multiply-adds that are worth a thread, times 2

// Copies rows of one kv head, [rows] at `stride`, to positions [first, first + rows) of a block. T only says the size.
template <class T>
void write_head(const T* k, const T* v, std::int64_t stride, std::int64_t rows, std::int64_t first, std::int64_t head,
                T* keys, T* values) {
  for (std::int64_t d = 0; d < head; ++d) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t j = first + r;
      keys[j / kHalfBlock * kHalfBlock * head + kHalfBlock * d + j % kHalfBlock] = k[r * stride + d];
      values[d / kPanel * kBlock * kPanel + kPanel * j + d % kPanel] = v[r * stride + d];
    }
  }
}

template <class T>
void write_tile(const AttentionShape& shape, const T* k, const T* v, const AttentionTile& tile, std::int32_t block,
                T* store) {
  const std::int64_t stride = shape.kv_heads * shape.head;
  for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
    T* keys = store + block * shape.block_elements() + h * 2 * kBlock * shape.head;
    const std::int64_t from = tile.row * stride + h * shape.head;
    write_head(k + from, v + from, stride, tile.rows, tile.position % kBlock, shape.head, keys,
               keys + kBlock * shape.head);
  }
}

template <class T>
void copy_positions(const AttentionShape& shape, T* store, std::int32_t from, std::int32_t to, std::int64_t count) {
  const T* source = store + from * shape.block_elements();
  T* target = store + to * shape.block_elements();
  const std::int64_t half = kHalfBlock, keys = kBlock * shape.head;
  for (std::int64_t h = 0; h < shape.kv_heads; ++h, source += 2 * keys, target += 2 * keys) {
    for (std::int64_t line = 0; line < 2 * shape.head; ++line) {  // a line holds 16 positions of one element
      const std::int64_t n = std::clamp<std::int64_t>(count - line / shape.head * half, 0, half);
      std::copy_n(source + line * half, n, target + line * half);
    }
    for (std::int64_t panel = 0; panel < shape.head / kPanel; ++panel) {
      const std::int64_t at = keys + panel * kBlock * kPanel;
      std::copy_n(source + at, count * kPanel, target + at);
    }
  }
}

struct Call {
  const AttentionShape& shape;
  const void* q;
  const void* store;
  const AttentionSequence* sequences;
  void* out;
  float* lse;
  PanelKernels panels;
  const VectorKernels& vectors;
};

// The queries of one tile for one kv head, (row, query head) pairs as rows, and what belongs to them.
class TileForward {
 public:
  explicit TileForward(const Call& call)
      : call_(call),
        type_(typed(call.vectors, call.shape.type)),
        head_(call.shape.head),
        group_(group_size(call.shape)),
        most_(tile_rows(call.shape) * group_),
        q_(float_scratch(most_ * head_)),
        out_(float_scratch(most_ * head_)),
        scores_(float_scratch(most_ * kBlock)),
        max_(float_scratch(most_)),
        sum_(float_scratch(most_)),
        block_(float_scratch(call.shape.type == Type::BF16 ? 2 * kBlock * head_ : 0)) {}

  void run(const AttentionTile& tile, std::int64_t kv_head) {
    const std::int64_t rows = tile.rows * group_;
    for (std::int64_t t = 0; t < tile.rows; ++t) {
      type_.widen(element(call_.shape.type, call_.q, query(tile, t, kv_head)), group_ * head_, &q_[t * group_ * head_]);
    }
    std::fill_n(max_.get(), rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum_.get(), rows, 0.0f);
    const std::int64_t last = tile.block();
    for (std::int64_t b = 0; b < last; ++b) {
      const float* keys = block(tile.sequence, b, kv_head);
      scores(keys, rows, kBlock);
      take(keys, 0, rows, kBlock, b == 0);
    }
    // In the last block each row sees as many positions as stand up to its own.
    const std::int64_t first = tile.position % kBlock;
    const float* keys = block(tile.sequence, last, kv_head);
    scores(keys, rows, first + tile.rows);
    for (std::int64_t t = 0; t < tile.rows; ++t) take(keys, t * group_, group_, first + t + 1, last == 0);
    write(tile, kv_head);
  }

 private:
  std::int64_t query(const AttentionTile& tile, std::int64_t t, std::int64_t kv_head) const {
    return ((tile.row + t) * call_.shape.query_heads + kv_head * group_) * head_;
  }

  // Keys of a block, its values behind them, as floats.
  const float* block(std::int32_t sequence, std::int64_t b, std::int64_t kv_head) {
    const std::int64_t at =
        call_.sequences[sequence].blocks[b] * call_.shape.block_elements() + kv_head * 2 * kBlock * head_;
    if (call_.shape.type == Type::F32) return static_cast<const float*>(call_.store) + at;
    type_.widen(element(call_.shape.type, call_.store, at), 2 * kBlock * head_, block_.get());
    return block_.get();
  }

  void scores(const float* keys, std::int64_t rows, std::int64_t count) {
    call_.panels.f32.run({.a = q_.get(),
                          .a_row = head_,
                          .rows = rows,
                          .inner = head_,
                          .b = keys,
                          .b_panel = kHalfBlock * head_,
                          .columns = ceil_to(count, kPanel),
                          .c = scores_.get(),
                          .c_row = kBlock});
  }

  // Softmax and output of rows [row, row + rows) over the first `count` positions of a block.
  void take(const float* keys, std::int64_t row, std::int64_t rows, std::int64_t count, bool first_block) {
    float* out = &out_[row * head_];
    call_.vectors.attention_rows({.scores = &scores_[row * kBlock],
                                  .rows = rows,
                                  .count = count,
                                  .scale = call_.shape.scale,
                                  .max = &max_[row],
                                  .sum = &sum_[row],
                                  .out = first_block ? nullptr : out,
                                  .head = head_});
    call_.panels.f32.run({.a = &scores_[row * kBlock],
                          .a_row = kBlock,
                          .rows = rows,
                          .inner = count,
                          .b = keys + kBlock * head_,
                          .b_panel = kBlock * kPanel,
                          .columns = head_,
                          .c = out,
                          .c_row = head_,
                          .accumulate = !first_block});
  }

  void write(const AttentionTile& tile, std::int64_t kv_head) {
    for (std::int64_t t = 0; t < tile.rows; ++t) {
      for (std::int64_t g = 0; g < group_; ++g) {
        const std::int64_t r = t * group_ + g;
        for (std::int64_t d = 0; d < head_; ++d) out_[r * head_ + d] /= sum_[r];
        if (call_.lse != nullptr) {
          call_.lse[(tile.row + t) * call_.shape.query_heads + kv_head * group_ + g] =
              static_cast<float>(max_[r] + std::log(static_cast<double>(sum_[r])));
        }
      }
      type_.narrow(&out_[t * group_ * head_], group_ * head_,
                   element(call_.shape.type, call_.out, query(tile, t, kv_head)));
    }
  }

  const Call& call_;
  const VectorTypeKernels& type_;
  const std::int64_t head_, group_, most_;
  std::unique_ptr<float[]> q_, out_, scores_, max_, sum_, block_;
};

}  // namespace

void write_kv(const AttentionShape& shape, const void* k, const void* v, const AttentionSequence* sequences,
              std::int64_t num_sequences, void* store, const Team& team) {
  std::vector<AttentionTile> tiles;
  for (std::int64_t s = 0; s < num_sequences; ++s)
    append_tiles(sequences[s], static_cast<std::int32_t>(s), kBlock, tiles);
  team.split(static_cast<std::int64_t>(tiles.size()), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int32_t block = sequences[tiles[i].sequence].blocks[tiles[i].block()];
      if (shape.type == Type::F32) {
        write_tile(shape, static_cast<const float*>(k), static_cast<const float*>(v), tiles[i], block,
                   static_cast<float*>(store));
      } else {
        write_tile(shape, static_cast<const bf16*>(k), static_cast<const bf16*>(v), tiles[i], block,
                   static_cast<bf16*>(store));
      }
    }
  });
}

void copy_block(const AttentionShape& shape, void* store, std::int32_t from, std::int32_t to, std::int64_t count) {
  if (shape.type == Type::F32) return copy_positions(shape, static_cast<float*>(store), from, to, count);
  copy_positions(shape, static_cast<bf16*>(store), from, to, count);
}

void attention(const AttentionShape& shape, const void* q, const void* store, const AttentionSequence* sequences,
               std::int64_t num_sequences, void* out, float* lse, Isa isa, const Team& team) {
  const Call call{shape, q, store, sequences, out, lse, panel_kernels(isa), vector_kernels(isa)};
  std::vector<AttentionTile> tiles;
  for (std::int64_t s = 0; s < num_sequences; ++s) {
    append_tiles(sequences[s], static_cast<std::int32_t>(s), tile_rows(shape), tiles);
  }
  std::int64_t products = 0;
  for (const AttentionTile& tile : tiles)
    products += tile.rows * (tile.position + tile.rows) * shape.query_heads * shape.head;
  // Head by head, so that sequences of one prompt find its blocks in the cache.
  const std::int64_t num_tiles = static_cast<std::int64_t>(tiles.size());
  share_units(team, num_tiles * shape.kv_heads, 1 + products / kProductsPerThread, [&](const auto& next) {
    TileForward forward(call);
    for (std::int64_t unit = next(); unit >= 0; unit = next()) forward.run(tiles[unit % num_tiles], unit / num_tiles);
  });
}

}  // namespace grpo::kernels
