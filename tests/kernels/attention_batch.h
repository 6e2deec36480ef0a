// Batches for the attention tests: sequences with prompts, block tables, a store that is NaN where nothing was written,
// and attention in double with bounds on what fp32 may lose.
#pragma once

#include <algorithm>
#include <string>

#include "kernels/attention.h"
#include "kernels/kernel_test.h"

namespace grpo::kernels {

struct Part {
  std::int32_t parent = -1;
  std::int64_t start = 0, rows = 0;
};

// Sequences one after the other; a child shares its parent's whole blocks and has a copy of the partial one.
struct AttentionBatch {
  AttentionShape shape;
  std::vector<AttentionSequence> sequences;
  std::vector<std::vector<std::int32_t>> tables;
  std::int64_t rows = 0;
  std::int32_t num_blocks = 0;
  Buffer q, k, v;

  AttentionBatch(const AttentionShape& s, const std::vector<Part>& parts, std::uint64_t seed, double scale = 1)
      : shape(s), q(s.type, 0), k(s.type, 0), v(s.type, 0) {
    for (const Part& part : parts) {
      sequences.push_back({rows, rows + part.rows, part.start, nullptr, part.parent});
      rows += part.rows;
      tables.emplace_back();
      const std::int64_t blocks = (part.start + part.rows + kBlock - 1) / kBlock;
      for (std::int64_t b = 0; b < blocks; ++b) {
        const bool shared = b < part.start / kBlock;
        tables.back().push_back(shared ? tables[part.parent][b] : num_blocks++);
      }
    }
    for (std::size_t i = 0; i < sequences.size(); ++i) sequences[i].blocks = tables[i].data();
    Numbers numbers(seed);
    q = numbers.normals(shape.type, rows * shape.query_heads * shape.head, scale);
    k = numbers.normals(shape.type, rows * shape.kv_heads * shape.head, scale);
    v = numbers.normals(shape.type, rows * shape.kv_heads * shape.head);
  }
  AttentionBatch(const AttentionBatch&) = delete;

  std::int64_t count() const { return static_cast<std::int64_t>(sequences.size()); }
  Buffer empty_store() const { return Buffer(shape.type, (num_blocks + 1) * shape.block_elements()); }

  // All keys and values of the batch, and the children's copies of partial blocks.
  Buffer full_store(const Team& team = {}) const {
    Buffer store = empty_store();
    write_kv(shape, k.data(), v.data(), sequences.data(), count(), store.data(), team);
    for (const AttentionSequence& s : sequences) {
      const std::int64_t b = s.start / kBlock;
      if (s.parent < 0 || s.start % kBlock == 0 || s.row_begin == s.row_end) continue;
      copy_block(shape, store.data(), sequences[s.parent].blocks[b], s.blocks[b], s.start % kBlock);
    }
    return store;
  }

  // Batch row of a sequence's position.
  std::int64_t row_of(const AttentionSequence& s, std::int64_t position) const {
    return position < s.start ? sequences[s.parent].row_begin + position : s.row_begin + position - s.start;
  }
};

struct AttentionOutput {
  Buffer out, lse;
};

inline AttentionOutput run_attention(const AttentionBatch& batch, Isa isa, const Team& team = {}) {
  AttentionOutput result{Buffer(batch.shape.type, batch.q.size()),
                         Buffer(Type::F32, batch.rows * batch.shape.query_heads)};
  const Buffer store = batch.full_store(team);
  attention(batch.shape, batch.q.data(), store.data(), batch.sequences.data(), batch.count(), result.out.data(),
            static_cast<float*>(result.lse.data()), isa, team);
  return result;
}

// One row and query head in double. `error` bounds fp32, to first order (the caller puts a tenth on top):
//   score_j: a chain of `head` FMAs and the scale;
//   weight_j relative: the score, exp's argument (the roundings of all steps to the final maximum add up to |s_j -
//   max|) and per block an exp and a multiplication; sums: an FMA per block and a tree of 6; output: an FMA per
//   position.
struct ExactRow {
  std::vector<std::int64_t> rows;              // of the positions
  std::vector<double> s, s_error, p, p_error;  // p normalised; p_error relative
  std::vector<double> out, out_error;
  double lse = 0, lse_error = 0;
};

inline ExactRow exact_row(const AttentionBatch& batch, const AttentionSequence& sequence, std::int64_t row,
                          std::int64_t h) {
  const AttentionShape& shape = batch.shape;
  const std::int64_t kv = h / (shape.query_heads / shape.kv_heads), head = shape.head;
  const std::int64_t positions = sequence.start + row - sequence.row_begin + 1;
  ExactRow e;
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (std::int64_t j = 0; j < positions; ++j) {
    e.rows.push_back(batch.row_of(sequence, j));
    double dot = 0, size = 0;
    for (std::int64_t d = 0; d < head; ++d) {
      const double term =
          batch.q[(row * shape.query_heads + h) * head + d] * batch.k[(e.rows[j] * shape.kv_heads + kv) * head + d];
      dot += term;
      size += std::abs(term);
    }
    e.s.push_back(shape.scale * dot);
    e.s_error.push_back(shape.scale * kUnit * (static_cast<double>(head) * size + std::abs(dot)));
    max = std::max(max, e.s[j]);
  }
  for (const double s : e.s) sum += std::exp(s - max);
  const double blocks = static_cast<double>((positions + kBlock - 1) / kBlock);
  e.lse = max + std::log(sum);
  double sum_error = (blocks + 6) * kUnit;
  for (std::int64_t j = 0; j < positions; ++j) {
    e.p.push_back(std::exp(e.s[j] - e.lse));
    e.p_error.push_back(e.s_error[j] + kUnit * (max - e.s[j]) + (blocks + 1) * (kExpError + kUnit));
    sum_error += e.p[j] * e.p_error[j];
  }
  e.lse_error = sum_error + kUnit * std::abs(e.lse);
  for (std::int64_t d = 0; d < head; ++d) {
    double value = 0, error = 0;
    for (std::int64_t j = 0; j < positions; ++j) {
      const double v = batch.v[(e.rows[j] * shape.kv_heads + kv) * head + d];
      value += e.p[j] * v;
      error += e.p[j] * std::abs(v) * (e.p_error[j] + static_cast<double>(positions) * kUnit);
    }
    e.out.push_back(value);
    e.out_error.push_back(error + std::abs(value) * (sum_error + unit(shape.type)));
  }
  return e;
}

inline AttentionShape attention_shape(Type type, std::int64_t query_heads, std::int64_t kv_heads, std::int64_t head) {
  return {type, query_heads, kv_heads, head, 1 / std::sqrt(static_cast<float>(head))};
}

inline std::string describe(const AttentionShape& s) {
  return std::string(s.type == Type::F32 ? "f32 " : "bf16 ") + std::to_string(s.query_heads) + "/" +
         std::to_string(s.kv_heads) + "x" + std::to_string(s.head);
}

inline std::vector<AttentionShape> test_shapes() {
  std::vector<AttentionShape> shapes;
  for (const Type type : {Type::F32, Type::BF16}) {
    shapes.push_back(attention_shape(type, 1, 1, 16));
    shapes.push_back(attention_shape(type, 4, 2, 32));
    shapes.push_back(attention_shape(type, 9, 3, 64));
    shapes.push_back(attention_shape(type, 8, 1, 48));
    shapes.push_back(attention_shape(type, 2, 2, 128));
  }
  return shapes;
}

// Two prompts with answers of all alignments, and sequences by themselves.
inline std::vector<Part> test_parts() {
  return {{-1, 0, 45}, {0, 45, 30}, {0, 45, 1}, {0, 45, 19}, {-1, 0, 1},
          {-1, 0, 64}, {5, 64, 33}, {5, 64, 5}, {5, 20, 9},  {-1, 0, 32}};
}

}  // namespace grpo::kernels
