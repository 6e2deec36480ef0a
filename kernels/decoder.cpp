#include "kernels/decoder.h"

#include <algorithm>

#include "kernels/attention_forward.h"
#include "kernels/layers.h"
#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

// Rows that a thread takes through a phase at once: what it computes between stays near the core.
constexpr std::int64_t kStrip = 256;
// With fewer rows for each thread, threads share out the outputs of a product instead of its rows.
constexpr std::int64_t kLeastRows = 32;

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};
Range share(std::int64_t n, int index, int count) { return {n * index / count, n * (index + 1) / count}; }

std::int64_t panels(std::int64_t outputs) { return (outputs + kPanel - 1) / kPanel; }
// Outputs of the panels [begin, end) of a list of weights that lie in the weight at `first` panels.
Range outputs_of(Range list, std::int64_t first, std::int64_t outputs) {
  const std::int64_t begin = std::clamp<std::int64_t>(list.begin - first, 0, panels(outputs));
  const std::int64_t end = std::clamp<std::int64_t>(list.end - first, begin, panels(outputs));
  return {begin * kPanel, std::min(end * kPanel, outputs)};
}

// Pieces of the scratch memory, in bytes from its start.
struct Layout {
  std::int64_t bytes = 0;
  std::int64_t q, k, v, attention, act;  // shared by all threads, [rows, ...]
  std::int64_t own, own_bytes;           // each thread's
  std::int64_t h, left, right, norm;     // in a thread's own

  explicit Layout(const DecoderArgs& a, int threads) {
    const std::int64_t size = a.shape.type == Type::F32 ? 4 : 2;
    const std::int64_t query = a.shape.query_heads * a.shape.head, kv = a.shape.kv_heads * a.shape.head;
    const std::int64_t strip = std::min(a.rows, kStrip);
    const auto piece = [this](std::int64_t n) {
      const std::int64_t at = bytes;
      bytes += ceil_to(n, 64);
      return at;
    };
    q = piece(a.rows * query * size);
    k = piece(a.rows * kv * size);
    v = piece(a.rows * kv * size);
    attention = piece(a.rows * query * size);
    act = piece(a.rows * a.intermediate * size);
    own = bytes;
    h = piece(strip * a.width * size) - own;
    left = piece(strip * std::max(a.intermediate, a.width) * size) - own;
    right = piece(strip * a.intermediate * size) - own;
    norm = piece(std::max(a.width, a.shape.head) * 4) - own;
    own_bytes = bytes - own;
    bytes += (threads - 1) * own_bytes;
  }
};

// Where a row's keys and values go: position `place` of a block.
struct Slot {
  std::int64_t block = 0, place = 0;
};

// What all threads share.
struct Job {
  const DecoderArgs& args;
  const Layout layout;
  const AttentionPlan attention;
  const std::vector<Slot> slots;
  const std::vector<float> turns;  // of each row, as split_turns() makes them
  const Isa isa;
  std::atomic<std::int64_t> taken{0};  // units of attention, over all layers
  Barrier barrier;
};

class Worker {
 public:
  Worker(Job& job, int index, int count)
      : job_(job),
        args_(job.args),
        index_(index),
        count_(count),
        by_rows_(args_.rows >= kLeastRows * count),
        rows_(by_rows_ ? share(args_.rows, index, count) : Range{0, args_.rows}),
        vectors_(vector_kernels(job.isa)),
        type_(typed(vectors_, args_.shape.type)),
        call_{args_.shape, shared(job.layout.q, 0), nullptr,  args_.sequences, shared(job.layout.attention, 0),
              nullptr,     panel_kernels(job.isa),  &vectors_},
        attend_(call_) {}

  void run() {
    for (std::int64_t i = 0; i < args_.num_layers; ++i) {
      const DecoderLayer& layer = args_.layers[i];
      for_strips([&](Range rows) { project(layer, rows); });
      job_.barrier.wait(count_);
      if (!job_.attention.tile_each) {
        const Range own = share(args_.rows, index_, count_);
        for (std::int64_t t = own.begin; t < own.end; ++t)
          for (std::int64_t h = 0; h < args_.shape.kv_heads; ++h) store_head(layer, t, h);
        job_.barrier.wait(count_);
      }
      attend(layer, i);
      job_.barrier.wait(count_);
      for_strips([&](Range rows) { add_product(layer.o, query_width(), shared(job_.layout.attention, 0), rows); });
      if (!by_rows_) job_.barrier.wait(count_);
      for_strips([&](Range rows) { gate(layer, rows); });
      if (!by_rows_) job_.barrier.wait(count_);
      for_strips([&](Range rows) { add_product(layer.down, args_.intermediate, shared(job_.layout.act, 0), rows); });
      if (!by_rows_) job_.barrier.wait(count_);
    }
  }

 private:
  std::int64_t query_width() const { return args_.shape.query_heads * args_.shape.head; }
  std::int64_t kv_width() const { return args_.shape.kv_heads * args_.shape.head; }

  // Element `i` of a piece of the scratch memory.
  void* shared(std::int64_t piece, std::int64_t i) const {
    return element(args_.shape.type, static_cast<void*>(static_cast<char*>(args_.scratch) + piece), i);
  }
  void* own(std::int64_t piece) const { return shared(job_.layout.own + index_ * job_.layout.own_bytes + piece, 0); }
  void* x(std::int64_t row) const { return element(args_.shape.type, args_.x, row * args_.width); }

  template <class F>
  void for_strips(const F& f) const {
    for (std::int64_t begin = rows_.begin; begin < rows_.end; begin += kStrip)
      f(Range{begin, std::min(begin + kStrip, rows_.end)});
  }

  // This thread's part of `n` panels.
  Range panel_share(std::int64_t n) const { return by_rows_ ? Range{0, n} : share(n, index_, count_); }

  // A norm's weight as the computation sees it.
  const float* norm_weight(const float* weight, std::int64_t n) const {
    if (args_.shape.type == Type::F32) return weight;
    auto* used = static_cast<float*>(own(job_.layout.norm));
    for (std::int64_t i = 0; i < n; ++i) used[i] = to_float(to_bf16(weight[i]));
    return used;
  }

  void* norm_rows(const float* weight, Range rows) const {
    void* h = own(job_.layout.h);
    type_.rms_norm(x(rows.begin), norm_weight(weight, args_.width), args_.eps, rows.size(), args_.width, h, nullptr);
    return h;
  }

  LinearArgs product(const DecoderWeight& weight, const void* input, std::int64_t in, std::int64_t rows,
                     std::int64_t out, Range outputs, void* y, std::int64_t y_stride) const {
    return {.type = args_.shape.type,
            .x = input,
            .rows = rows,
            .in = in,
            .x_stride = in,
            .weight = weight.packed,
            .out = out,
            .first = outputs.begin,
            .last = outputs.end,
            .bias = weight.bias,
            .y_type = args_.shape.type,
            .y = y,
            .y_stride = y_stride};
  }

  void project(const DecoderLayer& layer, Range rows) const {
    const void* h = norm_rows(layer.attention_norm, rows);
    const std::int64_t query = query_width(), kv = kv_width();
    const Range list = panel_share(panels(query) + 2 * panels(kv));
    LinearArgs products[3];
    const auto part = [&](int i, const DecoderWeight& weight, std::int64_t first, std::int64_t out,
                          std::int64_t piece) {
      const Range outputs = outputs_of(list, first, out);
      products[i] = product(weight, h, args_.width, rows.size(), out, outputs,
                            shared(piece, rows.begin * out + outputs.begin), out);
    };
    part(0, layer.q, 0, query, job_.layout.q);
    part(1, layer.k, panels(query), kv, job_.layout.k);
    part(2, layer.v, panels(query) + panels(kv), kv, job_.layout.v);
    linear_each(products, 3, job_.isa);
  }

  // The first element of row t of a kv head, in k and v, and that of its query heads, in q.
  std::int64_t kv_element(std::int64_t t, std::int64_t kv_head) const {
    return t * kv_width() + kv_head * args_.shape.head;
  }
  std::int64_t query_element(std::int64_t t, std::int64_t kv_head) const {
    return t * query_width() + kv_head * group_size(args_.shape) * args_.shape.head;
  }

  // Row t of a kv head and its query heads: norms and rotary positions in place, then keys and values to the cache.
  void store_head(const DecoderLayer& layer, std::int64_t t, std::int64_t kv_head) const {
    const AttentionShape& shape = args_.shape;
    const auto rotate = [&](void* row, const float* norm, std::int64_t heads) {
      if (norm != nullptr)
        type_.rms_norm(row, norm_weight(norm, shape.head), args_.eps, heads, shape.head, row, nullptr);
      type_.rope(row, job_.turns.data() + t * shape.head, heads, shape.head, row);
    };
    void* k = shared(job_.layout.k, kv_element(t, kv_head));
    rotate(shared(job_.layout.q, query_element(t, kv_head)), layer.q_norm, group_size(shape));
    rotate(k, layer.k_norm, 1);
    const Slot& slot = job_.slots[static_cast<std::size_t>(t)];
    write_kv_head(shape, k, shared(job_.layout.v, kv_element(t, kv_head)), kv_head, slot.block, slot.place,
                  layer.store);
  }

  // In decode a unit's rows see no other new keys than their own, and so the unit stores those itself. What other
  // threads wrote or memory holds is asked for first.
  void store_unit(const DecoderLayer& layer, std::int64_t unit) const {
    const AttentionBundle& bundle = job_.attention.bundle(unit);
    const std::int64_t kv_head = job_.attention.kv_head(unit), head = args_.shape.head;
    const auto for_rows = [&](const auto& f) {
      for (std::int64_t i = bundle.first; i < bundle.first + bundle.count; ++i) {
        const AttentionTile& tile = job_.attention.tiles[static_cast<std::size_t>(i)];
        for (std::int64_t t = tile.row; t < tile.row + tile.rows; ++t) f(tile, t);
      }
    };
    for_rows([&](const AttentionTile& tile, std::int64_t t) {
      fetch(args_.shape.type, shared(job_.layout.q, 0), query_element(t, kv_head), group_size(args_.shape) * head);
      fetch(args_.shape.type, shared(job_.layout.k, 0), kv_element(t, kv_head), head);
      fetch(args_.shape.type, shared(job_.layout.v, 0), kv_element(t, kv_head), head);
      attend_.fetch_seen(tile, tile.block(), kv_head);
    });
    for_rows([&](const AttentionTile&, std::int64_t t) { store_head(layer, t, kv_head); });
  }

  void attend(const DecoderLayer& layer, std::int64_t layer_index) {
    call_.store = layer.store;
    // Every thread takes one unit number past the last.
    const std::int64_t units = job_.attention.num_units(), first = layer_index * (units + count_);
    const auto next = [&] { return job_.taken.fetch_add(1, std::memory_order_relaxed) - first; };
    for (std::int64_t unit = next(); unit < units; unit = next()) {
      if (job_.attention.tile_each) store_unit(layer, unit);
      attend_.run(job_.attention, unit);
    }
  }

  // x += input W^T, this thread's columns.
  void add_product(const DecoderWeight& weight, std::int64_t in, const void* input, Range rows) const {
    const std::int64_t width = args_.width;
    const Range outputs = outputs_of(panel_share(panels(width)), 0, width);
    void* y = own(job_.layout.left);
    const LinearArgs args = product(weight, element(args_.shape.type, input, rows.begin * in), in, rows.size(), width,
                                    outputs, y, outputs.size());
    linear_each(&args, 1, job_.isa);
    for (std::int64_t t = 0; t < rows.size(); ++t) {
      void* to = element(args_.shape.type, x(rows.begin + t), outputs.begin);
      type_.add(to, element(args_.shape.type, y, t * outputs.size()), outputs.size(), to);
    }
  }

  void gate(const DecoderLayer& layer, Range rows) const {
    const void* h = norm_rows(layer.mlp_norm, rows);
    const std::int64_t out = args_.intermediate;
    const Range outputs = outputs_of(panel_share(panels(out)), 0, out);
    void *left = own(job_.layout.left), *right = own(job_.layout.right);
    const LinearArgs products[] = {product(layer.gate, h, args_.width, rows.size(), out, outputs, left, outputs.size()),
                                   product(layer.up, h, args_.width, rows.size(), out, outputs, right, outputs.size())};
    linear_each(products, 2, job_.isa);
    for (std::int64_t t = 0; t < rows.size(); ++t) {
      type_.swiglu(element(args_.shape.type, left, t * outputs.size()),
                   element(args_.shape.type, right, t * outputs.size()), outputs.size(),
                   shared(job_.layout.act, (rows.begin + t) * out + outputs.begin));
    }
  }

  Job& job_;
  const DecoderArgs& args_;
  const int index_, count_;
  const bool by_rows_;
  const Range rows_;
  const VectorKernels& vectors_;
  const VectorTypeKernels& type_;
  AttentionCall call_;
  AttentionWorker attend_;
};

std::vector<Slot> slots_of(const DecoderArgs& args) {
  std::vector<Slot> slots(static_cast<std::size_t>(args.rows));
  for (std::int64_t s = 0; s < args.num_sequences; ++s) {
    const AttentionSequence& sequence = args.sequences[s];
    for (std::int64_t t = sequence.row_begin; t < sequence.row_end; ++t) {
      const std::int64_t position = sequence.start + t - sequence.row_begin;
      slots[static_cast<std::size_t>(t)] = {sequence.blocks[position / kBlock], position % kBlock};
    }
  }
  return slots;
}

std::vector<float> turns_of(const DecoderArgs& args) {
  const std::int64_t head = args.shape.head;
  std::vector<float> turns(static_cast<std::size_t>(args.rows * head));
  for (std::int64_t t = 0; t < args.rows; ++t)
    split_turns(args.rope_table + args.positions[t] * head, 1, head, turns.data() + t * head);
  return turns;
}

}  // namespace

std::int64_t decoder_scratch(const DecoderArgs& args, const Team& team) { return Layout(args, team.size).bytes; }

void decoder_layers(const DecoderArgs& args, Isa isa, const Team& team) {
  if (args.rows == 0) return;
  Job job{args,
          Layout(args, team.size),
          plan_attention(args.shape, args.sequences, args.num_sequences, team.size),
          slots_of(args),
          turns_of(args),
          isa,
          {},
          {}};
  team.side_by_side(team.size, [&](int index, int count) { Worker(job, index, count).run(); });
}

}  // namespace grpo::kernels
