#include "kernels/attention.h"

#include "ops/autograd.h"
#include "ops/checks.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

using kernels::kBlock;

static_assert(kBlock == kKvBlock);

// Of fp32 activations until their type is known.
kernels::AttentionShape attention_shape(const char* op, const AttentionHeads& heads) {
  const std::string prefix = std::string("[") + op + "] heads";
  GRPO_CHECK(heads.kv > 0 && heads.query > 0 && heads.query % heads.kv == 0,
             prefix + ": expected query heads to be a multiple of kv heads, got " + std::to_string(heads.query) +
                 " and " + std::to_string(heads.kv));
  GRPO_CHECK(heads.size > 0 && heads.size % 16 == 0,
             prefix + ".size: expected a multiple of 16, got " + std::to_string(heads.size));
  return {
      .query_heads = heads.query, .kv_heads = heads.kv, .head = heads.size, .scale = static_cast<float>(heads.scale)};
}

struct Inputs {
  at::Tensor q_THE, k_TKE, v_TKE;
  kernels::AttentionShape shape;
};

Inputs checked_inputs(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const AttentionHeads& heads) {
  Inputs in;
  in.shape = attention_shape(op, heads);
  in.q_THE = ops::activations(op, "q", q, ops::kAny, heads.query * heads.size);
  in.k_TKE = ops::activations(op, "k", k, in.q_THE.size(0), heads.kv * heads.size);
  in.v_TKE = ops::activations_like(op, "v", v, in.k_TKE);
  if (in.k_TKE.scalar_type() != in.q_THE.scalar_type()) {
    ops::reject(op, "k", "the type of q, " + ops::describe(in.q_THE), ops::describe(in.k_TKE));
  }
  in.shape.type = ops::kernel_type(in.q_THE);
  return in;
}

// Sequences cover the rows in order.
template <class Sequence>
void check_cover(const char* op, const std::vector<Sequence>& sequences, std::int64_t rows) {
  std::int64_t row = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    const bool fits = s.begin == row && s.end >= s.begin && s.end <= rows;
    GRPO_CHECK(fits, std::string("[") + op + "] sequences[" + std::to_string(i) + "]: expected rows from " +
                         std::to_string(row) + " on, at most to " + std::to_string(rows) + ", got [" +
                         std::to_string(s.begin) + ", " + std::to_string(s.end) + ")");
    row = s.end;
  }
  GRPO_CHECK(row == rows, std::string("[") + op + "] sequences: expected them to cover " + std::to_string(rows) +
                              " rows, got " + std::to_string(row));
}

// The number of blocks of a cache's store.
std::int64_t check_store(const char* op, const at::Tensor& store, const kernels::AttentionShape& shape) {
  const std::int64_t block = shape.block_elements();
  const bool fits = store.defined() && store.device().is_cpu() && store.is_contiguous() && store.dim() == 1 &&
                    (store.scalar_type() == at::kFloat || store.scalar_type() == at::kBFloat16) &&
                    store.numel() % block == 0;
  if (!fits) {
    ops::reject(op, "store", "contiguous float32 or bfloat16 blocks of " + std::to_string(block) + " on cpu",
                ops::describe(store));
  }
  return store.numel() / block;
}

std::int64_t blocks_of(std::int64_t positions) { return (positions + kBlock - 1) / kBlock; }

// Where the sequences of one training batch keep their keys and values. A continuation's table starts with the prefix's
// whole blocks; the prefix's partial last block is copied into its own first one.
struct BatchLayout {
  std::vector<std::vector<std::int32_t>> tables;
  std::vector<kernels::AttentionSequence> sequences;
  struct Copy {
    std::int32_t from, to;
    std::int64_t count;
  };
  std::vector<Copy> copies;
  std::int64_t num_blocks = 0;
};

void check_prefix(const std::vector<PackedSequence>& sequences, std::size_t i) {
  const std::int32_t prefix = sequences[i].prefix;
  if (prefix < 0) {
    GRPO_CHECK(prefix == -1, "[attention] sequences[" + std::to_string(i) + "].prefix: expected -1 or an index, got " +
                                 std::to_string(prefix));
    return;
  }
  GRPO_CHECK(static_cast<std::size_t>(prefix) < i && sequences[static_cast<std::size_t>(prefix)].prefix == -1,
             "[attention] sequences[" + std::to_string(i) +
                 "].prefix: expected an earlier sequence that has none itself, got " + std::to_string(prefix));
}

BatchLayout lay_out(const std::vector<PackedSequence>& packed) {
  BatchLayout layout;
  layout.tables.resize(packed.size());
  for (std::size_t i = 0; i < packed.size(); ++i) {
    check_prefix(packed, i);
    const PackedSequence& s = packed[i];
    std::vector<std::int32_t>& table = layout.tables[i];
    std::int64_t start = 0;
    if (s.prefix >= 0) {
      const PackedSequence& parent = packed[static_cast<std::size_t>(s.prefix)];
      const std::vector<std::int32_t>& shared = layout.tables[static_cast<std::size_t>(s.prefix)];
      start = parent.end - parent.begin;
      const std::int64_t whole = start / kBlock, rest = start % kBlock;
      table.assign(shared.begin(), shared.begin() + whole);
      if (rest > 0) {
        layout.copies.push_back(
            {shared[static_cast<std::size_t>(whole)], static_cast<std::int32_t>(layout.num_blocks), rest});
      }
    }
    while (static_cast<std::int64_t>(table.size()) < blocks_of(start + s.end - s.begin)) {
      table.push_back(static_cast<std::int32_t>(layout.num_blocks++));
    }
    layout.sequences.push_back(
        {.row_begin = s.begin, .row_end = s.end, .start = start, .blocks = table.data(), .parent = s.prefix});
  }
  return layout;
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const std::vector<PackedSequence>& sequences, const AttentionHeads& heads) {
  const Inputs in = checked_inputs("attention", q, k, v, heads);
  const std::int64_t rows = in.q_THE.size(0);
  check_cover("attention", sequences, rows);
  const auto layout = std::make_shared<const BatchLayout>(lay_out(sequences));
  const auto num_sequences = static_cast<std::int64_t>(sequences.size());
  const kernels::AttentionShape shape = in.shape;

  const at::Tensor store = ops::pooled({layout->num_blocks * shape.block_elements()}, in.q_THE.scalar_type());
  kernels::write_kv(shape, in.k_TKE.const_data_ptr(), in.v_TKE.const_data_ptr(), layout->sequences.data(),
                    num_sequences, store.mutable_data_ptr(), ops::team());
  for (const BatchLayout::Copy& copy : layout->copies) {
    kernels::copy_block(shape, store.mutable_data_ptr(), copy.from, copy.to, copy.count);
  }

  const bool wants_grad = ops::wants_grad({in.q_THE, in.k_TKE, in.v_TKE});
  const at::Tensor out_THE = ops::pooled(in.q_THE.sizes(), in.q_THE.scalar_type());
  const at::Tensor lse_TH = wants_grad ? ops::pooled({rows, shape.query_heads}, at::kFloat) : at::Tensor();
  kernels::attention(shape, in.q_THE.const_data_ptr(), store.const_data_ptr(), layout->sequences.data(), num_sequences,
                     out_THE.mutable_data_ptr(), wants_grad ? lse_TH.mutable_data_ptr<float>() : nullptr, ops::isa(),
                     ops::team());
  if (!wants_grad) return out_THE;

  const auto backward = [=, q_THE = in.q_THE, kv_sizes = in.k_TKE.sizes().vec(),
                         saved_out = out_THE.detach()](const ops::Tensors& grads) -> ops::Tensors {
    if (!grads[0].defined()) return ops::Tensors(3);
    const at::Tensor dout_THE = grads[0].contiguous();
    const at::Tensor dq_THE = ops::pooled(q_THE.sizes(), q_THE.scalar_type());
    const at::Tensor dk_TKE = ops::pooled(kv_sizes, q_THE.scalar_type()),
                     dv_TKE = ops::pooled(kv_sizes, q_THE.scalar_type());
    kernels::attention_backward(shape,
                                {.q = q_THE.const_data_ptr(),
                                 .store = store.const_data_ptr(),
                                 .out = saved_out.const_data_ptr(),
                                 .lse = lse_TH.const_data_ptr<float>(),
                                 .dout = dout_THE.const_data_ptr(),
                                 .dq = dq_THE.mutable_data_ptr(),
                                 .dk = dk_TKE.mutable_data_ptr(),
                                 .dv = dv_TKE.mutable_data_ptr()},
                                layout->sequences.data(), num_sequences, rows, ops::isa(), ops::team());
    return {dq_THE, dk_TKE, dv_TKE};
  };
  ops::record("attention", {in.q_THE, in.k_TKE, in.v_TKE}, {out_THE}, backward);
  return out_THE;
}

at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<CachedSequence>& sequences, const AttentionHeads& heads,
                            at::Tensor& store) {
  const Inputs in = checked_inputs("attention_cached", q, k, v, heads);
  GRPO_CHECK(!ops::wants_grad({in.q_THE, in.k_TKE, in.v_TKE}),
             "[attention_cached] q, k, v: expected no gradient (use at::NoGradGuard), got tensors that require grad");
  check_cover("attention_cached", sequences, in.q_THE.size(0));
  const std::int64_t num_blocks = check_store("attention_cached", store, in.shape);
  if (store.scalar_type() != in.q_THE.scalar_type()) {
    ops::reject("attention_cached", "store", "the type of q, " + ops::describe(in.q_THE), ops::describe(store));
  }
  std::vector<kernels::AttentionSequence> spans;
  spans.reserve(sequences.size());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const CachedSequence& s = sequences[i];
    const std::string what = "[attention_cached] sequences[" + std::to_string(i) + "]";
    GRPO_CHECK(s.start >= 0, what + ".start: expected 0 or more, got " + std::to_string(s.start));
    GRPO_CHECK(s.blocks != nullptr || s.begin == s.end, what + ".blocks: expected a block table, got none");
    const std::int64_t needed = s.begin == s.end ? 0 : blocks_of(s.start + s.end - s.begin);
    for (std::int64_t b = 0; b < needed; ++b) {
      GRPO_CHECK(s.blocks[b] >= 0 && s.blocks[b] < num_blocks, what + ".blocks: expected blocks in [0, " +
                                                                   std::to_string(num_blocks) + "), got " +
                                                                   std::to_string(s.blocks[b]));
    }
    spans.push_back({.row_begin = s.begin, .row_end = s.end, .start = s.start, .blocks = s.blocks});
  }
  const auto num_sequences = static_cast<std::int64_t>(spans.size());
  const at::Tensor out_THE = ops::pooled(in.q_THE.sizes(), in.q_THE.scalar_type());
  kernels::write_kv(in.shape, in.k_TKE.const_data_ptr(), in.v_TKE.const_data_ptr(), spans.data(), num_sequences,
                    store.mutable_data_ptr(), ops::team());
  kernels::attention(in.shape, in.q_THE.const_data_ptr(), store.const_data_ptr(), spans.data(), num_sequences,
                     out_THE.mutable_data_ptr(), nullptr, ops::isa(), ops::team());
  return out_THE;
}

std::int64_t kv_block_elements(const AttentionHeads& heads) {
  return attention_shape("kv_block_elements", heads).block_elements();
}

void copy_kv_block(at::Tensor& store, const AttentionHeads& heads, std::int32_t from, std::int32_t to,
                   std::int64_t count) {
  kernels::AttentionShape shape = attention_shape("copy_kv_block", heads);
  const std::int64_t blocks = check_store("copy_kv_block", store, shape);
  shape.type = ops::kernel_type(store);
  GRPO_CHECK(from >= 0 && from < blocks && to >= 0 && to < blocks && from != to,
             "[copy_kv_block] from, to: expected two blocks in [0, " + std::to_string(blocks) + "), got " +
                 std::to_string(from) + " and " + std::to_string(to));
  GRPO_CHECK(count >= 0 && count <= kBlock, "[copy_kv_block] count: expected at most " + std::to_string(kBlock) +
                                                " positions, got " + std::to_string(count));
  kernels::copy_block(shape, store.mutable_data_ptr(), from, to, count);
}

}  // namespace grpo::inline GRPO_ABI
