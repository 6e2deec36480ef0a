// Gradients of causal attention. With s = scale q.k, p = exp(s - lse), delta = dout.out per row and query head:
//   dv_j = sum p_j dout,   ds_j = p_j (dout.v_j - delta),   dq = scale sum ds_j k_j,   dk_j = scale sum ds_j q.
// A unit of work is one kv head of one tree (a prompt and the sequences that continue it): sequences in order, their
// tiles in order, the blocks that a tile sees ascending. So every sum has one order, whatever the threads.
#include <cstring>

#include "kernels/attention.h"
#include "kernels/attention_tiles.h"
#include "kernels/panel.h"

namespace grpo::kernels {
namespace {

struct Tree {
  std::int32_t root;
  std::vector<std::int32_t> children;
};

struct Call {
  const AttentionShape& shape;
  const AttentionGrads& grads;
  const AttentionSequence* sequences;
  PanelKernels panels;
  const VectorKernels& vectors;
};

std::int64_t length(const AttentionSequence& sequence) { return sequence.row_end - sequence.row_begin; }

// Keys and values of one block and kv head as floats, in the layouts of the products.
class BlockOperands {
 public:
  // keys [2][head][16] (positions side by side), key_rows [head/16][32][16], values as keys.
  const float* keys() const { return data_.get(); }
  const float* key_rows() const { return data_.get() + size_; }
  const float* values() const { return data_.get() + 2 * size_; }

  // Reads the block unless it is what was read last.
  void read(const Call& call, std::int32_t block, std::int64_t kv_head) {
    if (data_ != nullptr && block == block_) return;
    const std::int64_t head = call.shape.head;
    size_ = kBlock * head;
    if (data_ == nullptr) data_ = float_scratch(4 * size_);
    block_ = block;
    const std::int64_t at = block * call.shape.block_elements() + kv_head * 2 * size_;
    float* value_rows = data_.get() + 3 * size_;
    const VectorTypeKernels& type = typed(call.vectors, call.shape.type);
    type.widen(element(call.shape.type, call.grads.store, at), size_, data_.get());
    type.widen(element(call.shape.type, call.grads.store, at + size_), size_, value_rows);
    for (std::int64_t d = 0; d < head; ++d) {
      for (std::int64_t j = 0; j < kBlock; ++j) {
        const std::int64_t by_position = j / kHalfBlock * kHalfBlock * head + kHalfBlock * d + j % kHalfBlock;
        const std::int64_t by_element = d / kPanel * kBlock * kPanel + kPanel * j + d % kPanel;
        data_[size_ + by_element] = data_[by_position];
        data_[2 * size_ + by_position] = value_rows[by_element];
      }
    }
  }

 private:
  std::unique_ptr<float[]> data_;
  std::int64_t size_ = 0;
  std::int32_t block_ = 0;
};

// fp32 sums of dk and dv for the rows of one sequence and kv head.
struct KvSums {
  std::vector<float> dk, dv;
  void clear(std::int64_t n) {
    dk.assign(static_cast<std::size_t>(n), 0);
    dv.assign(static_cast<std::size_t>(n), 0);
  }
};

// A matrix [rows][head] twice: row-major (left side of products) and in panels of 16 columns (right side).
struct TileMatrix {
  std::unique_ptr<float[]> rows, panels;
  explicit TileMatrix(std::int64_t n) : rows(float_scratch(n)), panels(float_scratch(n)) {}
  void fill_panels(std::int64_t num_rows, std::int64_t head) {
    for (std::int64_t d = 0; d < head; d += kPanel) {
      for (std::int64_t r = 0; r < num_rows; ++r)
        std::copy_n(&rows[r * head + d], kPanel, &panels[d * num_rows + r * kPanel]);
    }
  }
};

class TreeBackward {
 public:
  explicit TreeBackward(const Call& call)
      : call_(call),
        type_(typed(call.vectors, call.shape.type)),
        head_(call.shape.head),
        group_(group_size(call.shape)),
        most_(tile_rows(call.shape) * group_),
        q_(most_ * head_),
        dout_(most_ * head_),
        dq_(float_scratch(most_ * head_)),
        scores_(float_scratch(most_ * kBlock)),
        dp_(float_scratch(most_ * kBlock)),
        lse_(float_scratch(most_)),
        delta_(float_scratch(most_)) {}

  void run(const Tree& tree, std::int64_t kv_head) {
    kv_head_ = kv_head;
    blocks_.clear();
    const AttentionSequence& root = call_.sequences[tree.root];
    root_sums_.clear(length(root) * head_);
    run_sequence(tree.root, root_sums_);
    for (const std::int32_t child : tree.children) {
      child_sums_.clear(length(call_.sequences[child]) * head_);
      run_sequence(child, child_sums_);
      write_sums(call_.sequences[child], child_sums_);
    }
    write_sums(root, root_sums_);
  }

 private:
  void run_sequence(std::int32_t index, KvSums& own) {
    const AttentionSequence& sequence = call_.sequences[index];
    const std::int64_t num_blocks = (sequence.start + length(sequence) + kBlock - 1) / kBlock;
    if (num_blocks > static_cast<std::int64_t>(blocks_.size())) blocks_.resize(num_blocks);
    for (std::int64_t b = 0; b < num_blocks; ++b) blocks_[b].read(call_, sequence.blocks[b], kv_head_);
    std::vector<AttentionTile> tiles;
    append_tiles(sequence, index, tile_rows(call_.shape), tiles);
    for (const AttentionTile& tile : tiles) {
      read_tile(tile);
      for (std::int64_t b = 0; b <= tile.block(); ++b) run_block(tile, b, sequence.start, own);
      for (std::int64_t t = 0; t < tile.rows; ++t) {
        type_.narrow(&dq_[t * group_ * head_], group_ * head_,
                     element(call_.shape.type, call_.grads.dq, query(tile, t) * head_));
      }
    }
  }

  // First (row, query head) pair of a tile's row for this kv head.
  std::int64_t query(const AttentionTile& tile, std::int64_t t) const {
    return (tile.row + t) * call_.shape.query_heads + kv_head_ * group_;
  }

  void read_tile(const AttentionTile& tile) {
    const std::int64_t n = group_ * head_;
    for (std::int64_t t = 0; t < tile.rows; ++t) {
      const std::int64_t first = query(tile, t);
      float* out = dq_.get();  // free until the products
      type_.widen(element(call_.shape.type, call_.grads.q, first * head_), n, &q_.rows[t * n]);
      type_.widen(element(call_.shape.type, call_.grads.dout, first * head_), n, &dout_.rows[t * n]);
      type_.widen(element(call_.shape.type, call_.grads.out, first * head_), n, out);
      for (std::int64_t g = 0; g < group_; ++g) {
        const std::int64_t r = t * group_ + g;
        lse_[r] = call_.grads.lse[first + g];
        delta_[r] = call_.vectors.dot(&dout_.rows[r * head_], out + g * head_, head_);
      }
    }
    q_.fill_panels(tile.rows * group_, head_);
    dout_.fill_panels(tile.rows * group_, head_);
  }

  void run_block(const AttentionTile& tile, std::int64_t b, std::int64_t start, KvSums& own) {
    const std::int64_t rows = tile.rows * group_;
    const bool last = b == tile.block();
    const std::int64_t first = tile.position % kBlock;
    const std::int64_t count = last ? first + tile.rows : kBlock;  // positions of the block that the tile sees
    row_products(q_.rows.get(), blocks_[b].keys(), rows, count, scores_.get());
    row_products(dout_.rows.get(), blocks_[b].values(), rows, count, dp_.get());
    for (std::int64_t t = 0; t < (last ? tile.rows : 1); ++t) {
      const std::int64_t r = last ? t * group_ : 0;
      call_.vectors.attention_grad_rows({.scores = &scores_[r * kBlock],
                                         .dp = &dp_[r * kBlock],
                                         .rows = last ? group_ : rows,
                                         .count = last ? first + t + 1 : kBlock,
                                         .scale = call_.shape.scale,
                                         .lse = &lse_[r],
                                         .delta = &delta_[r]});
    }
    call_.panels.f32.run({.a = dp_.get(),
                          .a_row = kBlock,
                          .rows = rows,
                          .inner = count,
                          .b = blocks_[b].key_rows(),
                          .b_panel = kBlock * kPanel,
                          .columns = head_,
                          .c = dq_.get(),
                          .c_row = head_,
                          .accumulate = b > 0});
    // Positions before `start` are the prompt's rows.
    const std::int64_t position = b * kBlock, shared = std::clamp<std::int64_t>(start - position, 0, count);
    add_positions(0, shared, rows, root_sums_, position);
    add_positions(shared, count, rows, own, position + shared - start);
  }

  // c [rows][32] = a [rows][head] times keys or values.
  void row_products(const float* a, const float* b, std::int64_t rows, std::int64_t count, float* c) {
    call_.panels.f32.run({.a = a,
                          .a_row = head_,
                          .rows = rows,
                          .inner = head_,
                          .b = b,
                          .b_panel = kHalfBlock * head_,
                          .columns = ceil_to(count, kPanel),
                          .c = c,
                          .c_row = kBlock});
  }

  // Adds positions [begin, end) of the block at hand to sums from `row` on: dk += ds^T q, dv += p^T dout.
  void add_positions(std::int64_t begin, std::int64_t end, std::int64_t rows, KvSums& sums, std::int64_t row) {
    if (begin == end) return;
    PanelProduct<float> product{.a_row = 1,
                                .a_k = kBlock,
                                .rows = end - begin,
                                .inner = rows,
                                .b_panel = rows * kPanel,
                                .columns = head_,
                                .c_row = head_,
                                .accumulate = true};
    product.a = dp_.get() + begin;
    product.b = q_.panels.get();
    product.c = &sums.dk[row * head_];
    call_.panels.f32.run(product);
    product.a = scores_.get() + begin;
    product.b = dout_.panels.get();
    product.c = &sums.dv[row * head_];
    call_.panels.f32.run(product);
  }

  void write_sums(const AttentionSequence& sequence, const KvSums& sums) {
    for (std::int64_t r = 0; r < length(sequence); ++r) {
      const std::int64_t to = ((sequence.row_begin + r) * call_.shape.kv_heads + kv_head_) * head_;
      type_.narrow(&sums.dk[r * head_], head_, element(call_.shape.type, call_.grads.dk, to));
      type_.narrow(&sums.dv[r * head_], head_, element(call_.shape.type, call_.grads.dv, to));
    }
  }

  const Call& call_;
  const VectorTypeKernels& type_;
  const std::int64_t head_, group_, most_;
  TileMatrix q_, dout_;
  std::unique_ptr<float[]> dq_, scores_, dp_, lse_, delta_;
  std::vector<BlockOperands> blocks_;  // of the sequence at hand, by position
  KvSums root_sums_, child_sums_;
  std::int64_t kv_head_ = 0;
};

std::vector<Tree> find_trees(const AttentionSequence* sequences, std::int64_t num_sequences) {
  std::vector<Tree> trees;
  std::vector<std::size_t> tree_of(static_cast<std::size_t>(num_sequences));
  for (std::int32_t s = 0; s < num_sequences; ++s) {
    if (sequences[s].parent < 0) {
      tree_of[s] = trees.size();
      trees.push_back({s, {}});
    } else {
      tree_of[s] = tree_of[sequences[s].parent];
      trees[tree_of[s]].children.push_back(s);
    }
  }
  return trees;
}

}  // namespace

void attention_backward(const AttentionShape& shape, const AttentionGrads& grads, const AttentionSequence* sequences,
                        std::int64_t num_sequences, std::int64_t rows, Isa isa, const Team& team) {
  const auto zero = [&](void* p, std::int64_t width) {
    team.split(rows, 64, [&](std::int64_t begin, std::int64_t end) {
      char* from = static_cast<char*>(element(shape.type, p, begin * width));
      std::memset(from, 0, static_cast<const char*>(element(shape.type, p, end * width)) - from);
    });
  };
  zero(grads.dq, shape.query_heads * shape.head);
  zero(grads.dk, shape.kv_heads * shape.head);
  zero(grads.dv, shape.kv_heads * shape.head);
  const Call call{shape, grads, sequences, panel_kernels(isa), vector_kernels(isa)};
  const std::vector<Tree> trees = find_trees(sequences, num_sequences);
  const std::int64_t units = static_cast<std::int64_t>(trees.size()) * shape.kv_heads;
  share_units(team, units, units, [&](const auto& next) {
    TreeBackward backward(call);
    for (std::int64_t unit = next(); unit >= 0; unit = next()) {
      backward.run(trees[unit / shape.kv_heads], unit % shape.kv_heads);
    }
  });
}

}  // namespace grpo::kernels
