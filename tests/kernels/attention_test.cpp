#include "kernels/attention.h"

#include <gtest/gtest.h>

#include "kernels/attention_batch.h"

namespace grpo::kernels {
namespace {

void expect_near_exact(const AttentionBatch& batch, const AttentionOutput& got, const std::string& where) {
  const std::int64_t heads = batch.shape.query_heads, head = batch.shape.head;
  for (const AttentionSequence& s : batch.sequences) {
    for (std::int64_t r = s.row_begin; r < s.row_end; ++r) {
      for (std::int64_t h = 0; h < heads; ++h) {
        const ExactRow want = exact_row(batch, s, r, h);
        ASSERT_NEAR(got.lse[r * heads + h], want.lse, 1.1 * want.lse_error) << where << " row " << r << " head " << h;
        for (std::int64_t d = 0; d < head; ++d) {
          ASSERT_NEAR(got.out[(r * heads + h) * head + d], want.out[d], 1.1 * want.out_error[d] + 1e-40)
              << where << " row " << r << " head " << h << " element " << d;
        }
      }
    }
  }
}

TEST(Attention, MatchesDoubleWithinDerivedBounds) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, test_parts(), 1);
    expect_near_exact(batch, run_attention(batch, best_isa()), describe(shape));
  }
}

TEST(Attention, ReachesOverManyBlocks) {
  const AttentionBatch batch(attention_shape(Type::F32, 3, 1, 16), {{-1, 0, 300}}, 2);
  expect_near_exact(batch, run_attention(batch, best_isa()), "300 rows");
}

// Scores up to several hundred: nearly one-hot, the maximum moves from block to block.
TEST(Attention, SurvivesExtremeScores) {
  for (const Type type : {Type::F32, Type::BF16}) {
    const AttentionBatch batch(attention_shape(type, 2, 1, 16), {{-1, 0, 150}}, 3, 10);
    expect_near_exact(batch, run_attention(batch, best_isa()), "extreme");
  }
}

TEST(Attention, OnePositionIsItsValue) {
  const AttentionBatch batch(attention_shape(Type::F32, 4, 2, 16), {{-1, 0, 1}}, 4);
  const AttentionOutput got = run_attention(batch, best_isa());
  for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(got.out[i], batch.v[i / 32 * 16 + i % 16]);
}

TEST(Attention, IsTheSameBitsEverywhere) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, test_parts(), 5);
    const AttentionOutput want = run_attention(batch, Isa::Scalar);
    for (const Isa isa : isas_here()) {
      for (const int threads : {1, 2, 3}) {
        const AttentionOutput got = run_attention(batch, isa, thread_team(threads));
        EXPECT_TRUE(got.out == want.out) << describe(shape) << name(isa) << threads;
        EXPECT_TRUE(got.lse == want.lse) << describe(shape) << name(isa) << threads;
      }
    }
  }
}

TEST(Attention, LseIsOptional) {
  const AttentionBatch batch(attention_shape(Type::F32, 2, 1, 16), {{-1, 0, 40}}, 6);
  const Buffer store = batch.full_store();
  Buffer out(Type::F32, batch.q.size());
  attention(batch.shape, batch.q.data(), store.data(), batch.sequences.data(), 1, out.data(), nullptr, best_isa(),
            Team{});
  EXPECT_TRUE(out == run_attention(batch, best_isa()).out);
}

// Rows [begin, end) of one sequence, as a call by itself. The store holds what earlier calls wrote, NaN elsewhere.
void run_rows(const AttentionBatch& batch, std::int64_t begin, std::int64_t end, Buffer& store, AttentionOutput& result,
              Isa isa) {
  const AttentionShape& s = batch.shape;
  const AttentionSequence part{0, end - begin, begin, batch.sequences[0].blocks, -1};
  write_kv(s, batch.k.at(begin * s.kv_heads * s.head), batch.v.at(begin * s.kv_heads * s.head), &part, 1, store.data(),
           Team{});
  Buffer out(s.type, (end - begin) * s.query_heads * s.head);
  attention(s, batch.q.at(begin * s.query_heads * s.head), store.data(), &part, 1, out.data(),
            static_cast<float*>(result.lse.data()) + begin * s.query_heads, isa, thread_team(2));
  for (std::int64_t i = 0; i < out.size(); ++i) result.out.set(begin * s.query_heads * s.head + i, out[i]);
}

TEST(Attention, PrefillInPiecesAndDecodeEqualOnePrefill) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, {{-1, 0, 133}}, 7);
    const AttentionOutput want = run_attention(batch, best_isa());
    for (const Isa isa : isas_here()) {
      if (isa == Isa::Scalar && shape.head > 32) continue;  // slow, and equal to the others by the test above
      for (const int mode : {0, 1, 2}) {                    // one by one, in sevens, in random pieces
        Numbers numbers(8);
        Buffer store = batch.empty_store();
        AttentionOutput got{Buffer(shape.type, batch.q.size()), Buffer(Type::F32, batch.rows * shape.query_heads)};
        for (std::int64_t begin = 0; begin < batch.rows;) {
          const std::int64_t n = mode == 0 ? 1 : mode == 1 ? 7 : 1 + numbers.below(60);
          const std::int64_t end = std::min(batch.rows, begin + n);
          run_rows(batch, begin, end, store, got, isa);
          begin = end;
        }
        EXPECT_TRUE(got.out == want.out) << describe(shape) << name(isa) << mode;
        EXPECT_TRUE(got.lse == want.lse) << describe(shape) << name(isa) << mode;
      }
    }
  }
}

// A decode step of all sequences at once: one row each, the last.
TEST(Attention, DecodeBatchEqualsPrefill) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, test_parts(), 9);
    const AttentionOutput want = run_attention(batch, best_isa());
    const Buffer store = batch.full_store();
    const std::int64_t width = shape.query_heads * shape.head;
    std::vector<AttentionSequence> steps;
    Buffer q(shape.type, batch.count() * width), out(shape.type, batch.count() * width);
    for (std::int64_t i = 0; i < batch.count(); ++i) {
      const AttentionSequence& s = batch.sequences[i];
      steps.push_back({i, i + 1, s.start + s.row_end - s.row_begin - 1, s.blocks, -1});
      for (std::int64_t d = 0; d < width; ++d) q.set(i * width + d, batch.q[(s.row_end - 1) * width + d]);
    }
    attention(shape, q.data(), store.data(), steps.data(), batch.count(), out.data(), nullptr, best_isa(),
              thread_team(2));
    for (std::int64_t i = 0; i < batch.count(); ++i) {
      EXPECT_TRUE(out.same(i * width, want.out, (batch.sequences[i].row_end - 1) * width, width))
          << describe(shape) << i;
    }
  }
}

// Prompt and answer as one sequence with blocks of its own: the same rows.
TEST(Attention, SharedPromptEqualsOwnCopy) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, test_parts(), 10);
    const AttentionOutput want = run_attention(batch, best_isa());
    const std::int64_t q_width = shape.query_heads * shape.head, kv_width = shape.kv_heads * shape.head;
    for (const AttentionSequence& s : batch.sequences) {
      const std::int64_t length = s.start + s.row_end - s.row_begin;
      AttentionBatch own(shape, {{-1, 0, length}}, 11);
      for (std::int64_t p = 0; p < length; ++p) {
        const std::int64_t row = batch.row_of(s, p);
        for (std::int64_t d = 0; d < q_width; ++d) own.q.set(p * q_width + d, batch.q[row * q_width + d]);
        for (std::int64_t d = 0; d < kv_width; ++d) {
          own.k.set(p * kv_width + d, batch.k[row * kv_width + d]);
          own.v.set(p * kv_width + d, batch.v[row * kv_width + d]);
        }
      }
      const AttentionOutput got = run_attention(own, best_isa());
      EXPECT_TRUE(got.out.same(s.start * q_width, want.out, s.row_begin * q_width, (length - s.start) * q_width));
      EXPECT_TRUE(got.lse.same(s.start * shape.query_heads, want.lse, s.row_begin * shape.query_heads,
                               (length - s.start) * shape.query_heads));
    }
  }
}

// The layout that the header promises.
TEST(WriteKv, LaysOutBlocksAndTouchesNothingElse) {
  for (const Type type : {Type::F32, Type::BF16}) {
    const AttentionShape shape = attention_shape(type, 2, 2, 32);
    const AttentionBatch batch(shape, {{-1, 0, 45}, {0, 45, 3}}, 12);
    for (const int threads : {1, 3}) {
      Buffer store = batch.empty_store();
      write_kv(shape, batch.k.data(), batch.v.data(), batch.sequences.data(), 2, store.data(), thread_team(threads));
      Buffer want = batch.empty_store();
      for (const AttentionSequence& s : batch.sequences) {
        for (std::int64_t r = s.row_begin; r < s.row_end; ++r) {
          const std::int64_t p = s.start + r - s.row_begin, j = p % 32;
          for (std::int64_t h = 0; h < 2; ++h) {
            const std::int64_t keys = s.blocks[p / 32] * shape.block_elements() + h * 2 * 32 * 32,
                               values = keys + 32 * 32;
            for (std::int64_t d = 0; d < 32; ++d) {
              want.set(keys + j / 16 * 16 * 32 + 16 * d + j % 16, batch.k[(r * 2 + h) * 32 + d]);
              want.set(values + d / 16 * 32 * 16 + 16 * j + d % 16, batch.v[(r * 2 + h) * 32 + d]);
            }
          }
        }
      }
      EXPECT_TRUE(store == want);
    }
  }
}

TEST(CopyBlock, CopiesTheFirstPositionsOnly) {
  for (const Type type : {Type::F32, Type::BF16}) {
    const AttentionShape shape = attention_shape(type, 3, 3, 32);
    const AttentionBatch batch(shape, {{-1, 0, 32}, {-1, 0, 32}}, 13);
    const std::int64_t width = shape.kv_heads * shape.head;
    for (const std::int64_t count : {0, 1, 15, 16, 17, 31, 32}) {
      Buffer store = batch.full_store();
      copy_block(shape, store.data(), 0, 1, count);
      // As if the second sequence's first rows had been the first's.
      AttentionBatch mixed(shape, {{-1, 0, 32}, {-1, 0, 32}}, 13);
      for (std::int64_t i = 0; i < count * width; ++i) {
        mixed.k.set(32 * width + i, batch.k[i]);
        mixed.v.set(32 * width + i, batch.v[i]);
      }
      EXPECT_TRUE(store == mixed.full_store()) << count;
    }
  }
}

}  // namespace
}  // namespace grpo::kernels
