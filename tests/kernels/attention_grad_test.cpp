#include <gtest/gtest.h>

#include "kernels/attention_batch.h"

namespace grpo::kernels {
namespace {

struct Grads {
  Buffer dq, dk, dv;
  bool operator==(const Grads& other) const { return dq == other.dq && dk == other.dk && dv == other.dv; }
};

Grads run_backward(const AttentionBatch& batch, const AttentionOutput& forward, const Buffer& dout, Isa isa,
                   const Team& team, std::int64_t extra_rows = 0) {
  const Type type = batch.shape.type;
  const std::int64_t rows = batch.rows + extra_rows;
  Grads g{Buffer(type, rows * batch.shape.query_heads * batch.shape.head),
          Buffer(type, rows * batch.shape.kv_heads * batch.shape.head),
          Buffer(type, rows * batch.shape.kv_heads * batch.shape.head)};
  const Buffer store = batch.full_store();
  attention_backward(batch.shape,
                     {.q = batch.q.data(),
                      .store = store.data(),
                      .out = forward.out.data(),
                      .lse = static_cast<const float*>(forward.lse.data()),
                      .dout = dout.data(),
                      .dq = g.dq.data(),
                      .dk = g.dk.data(),
                      .dv = g.dv.data()},
                     batch.sequences.data(), batch.count(), rows, isa, team);
  return g;
}

Buffer output_grad(const AttentionBatch& batch) { return Numbers(99).normals(batch.shape.type, batch.q.size()); }

struct Bounded {
  std::vector<double> value, error, size;
  double terms = 0;
  explicit Bounded(std::int64_t n) : value(n), error(n), size(n) {}
  void add(std::int64_t i, double x, double x_error) {
    value[i] += x;
    error[i] += x_error;
    size[i] += std::abs(x);
  }
};

struct ExactGrads {
  Bounded dq, dk, dv;
  double most_terms = 0;  // of any sum
};

// The formulas of attention_grad.cpp in double. The kernel sees lse and out with the forward's errors; its own: chains
// of `head` FMAs in s, dout.v and delta, exp and its argument, three roundings in ds, a chain in every sum.
ExactGrads exact_grads(const AttentionBatch& batch, const Buffer& dout) {
  const AttentionShape& shape = batch.shape;
  const std::int64_t head = shape.head, group = shape.query_heads / shape.kv_heads;
  ExactGrads g{Bounded(batch.q.size()), Bounded(batch.k.size()), Bounded(batch.k.size())};
  for (const AttentionSequence& sequence : batch.sequences) {
    for (std::int64_t row = sequence.row_begin; row < sequence.row_end; ++row) {
      for (std::int64_t h = 0; h < shape.query_heads; ++h) {
        const ExactRow e = exact_row(batch, sequence, row, h);
        const std::int64_t at_q = (row * shape.query_heads + h) * head;
        double delta = 0, delta_error = 0;
        for (std::int64_t d = 0; d < head; ++d) {
          const double x = dout[at_q + d];
          delta += x * e.out[d];
          delta_error += std::abs(x) * (e.out_error[d] + kUnit * static_cast<double>(head) * std::abs(e.out[d]));
        }
        for (std::size_t j = 0; j < e.rows.size(); ++j) {
          const std::int64_t at_k = (e.rows[j] * shape.kv_heads + h / group) * head;
          double dp = 0, dp_error = 0;
          for (std::int64_t d = 0; d < head; ++d) {
            const double term = dout[at_q + d] * batch.v[at_k + d];
            dp += term;
            dp_error += kUnit * static_cast<double>(head) * std::abs(term);
          }
          const double p_relative = e.s_error[j] + e.lse_error + kUnit * std::abs(e.s[j] - e.lse) + kExpError;
          const double ds = shape.scale * e.p[j] * (dp - delta);
          const double ds_error =
              shape.scale * e.p[j] * (dp_error + delta_error) + std::abs(ds) * (p_relative + 3 * kUnit);
          for (std::int64_t d = 0; d < head; ++d) {
            g.dq.add(at_q + d, ds * batch.k[at_k + d], ds_error * std::abs(batch.k[at_k + d]));
            g.dk.add(at_k + d, ds * batch.q[at_q + d], ds_error * std::abs(batch.q[at_q + d]));
            g.dv.add(at_k + d, e.p[j] * dout[at_q + d], e.p[j] * p_relative * std::abs(dout[at_q + d]));
          }
        }
      }
    }
  }
  g.most_terms = static_cast<double>(batch.rows * group);
  return g;
}

void expect_near(const Buffer& got, const Bounded& want, double terms, const std::string& where) {
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const double rounding = got.type() == Type::BF16 ? kUnitBf16 * (std::abs(want.value[i]) + want.error[i]) : 0;
    ASSERT_NEAR(got[i], want.value[i], 1.1 * (want.error[i] + terms * kUnit * want.size[i] + rounding) + 1e-38)
        << where << " element " << i;
  }
}

TEST(AttentionBackward, MatchesDoubleWithinDerivedBounds) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, test_parts(), 21);
    const Buffer dout = output_grad(batch);
    const Grads got = run_backward(batch, run_attention(batch, best_isa()), dout, best_isa(), Team{});
    const ExactGrads want = exact_grads(batch, dout);
    expect_near(got.dq, want.dq, want.most_terms, describe(shape) + " dq");
    expect_near(got.dk, want.dk, want.most_terms, describe(shape) + " dk");
    expect_near(got.dv, want.dv, want.most_terms, describe(shape) + " dv");
  }
}

TEST(AttentionBackward, SurvivesExtremeScores) {
  const AttentionBatch batch(attention_shape(Type::F32, 2, 1, 16), {{-1, 0, 100}, {0, 100, 20}}, 22, 8);
  const Buffer dout = output_grad(batch);
  const Grads got = run_backward(batch, run_attention(batch, best_isa()), dout, best_isa(), Team{});
  const ExactGrads want = exact_grads(batch, dout);
  expect_near(got.dq, want.dq, want.most_terms, "dq");
  expect_near(got.dk, want.dk, want.most_terms, "dk");
  expect_near(got.dv, want.dv, want.most_terms, "dv");
}

// sum dout out in double, with one element of q, k or v moved. fp32 inputs move by a power of two, so exactly.
double loss(const AttentionBatch& batch, const Buffer& dout) {
  double total = 0;
  for (const AttentionSequence& s : batch.sequences) {
    for (std::int64_t r = s.row_begin; r < s.row_end; ++r) {
      for (std::int64_t h = 0; h < batch.shape.query_heads; ++h) {
        const ExactRow e = exact_row(batch, s, r, h);
        const std::int64_t at = (r * batch.shape.query_heads + h) * batch.shape.head;
        for (std::int64_t d = 0; d < batch.shape.head; ++d) total += dout[at + d] * e.out[d];
      }
    }
  }
  return total;
}

TEST(AttentionBackward, FormulaMatchesFiniteDifferences) {
  AttentionBatch batch(attention_shape(Type::F32, 2, 1, 16), {{-1, 0, 4}, {0, 4, 3}, {0, 2, 2}}, 23);
  const Buffer dout = output_grad(batch);
  const ExactGrads want = exact_grads(batch, dout);
  const auto check = [&](Buffer& x, const Bounded& grad) {
    for (std::int64_t i = 0; i < x.size(); i += 5) {
      const double old = x[i], step = 0x1p-13;
      x.set(i, old + step);
      const double up_x = x[i], up = loss(batch, dout);
      x.set(i, old - step);
      const double down_x = x[i], down = loss(batch, dout);
      x.set(i, old);
      // Truncation: step^2 / 6 = 2.5e-9 times a third derivative that is a sum of some tens of terms of order 1.
      EXPECT_NEAR(grad.value[i], (up - down) / (up_x - down_x), 1e-6);
    }
  };
  check(batch.q, want.dq);
  check(batch.k, want.dk);
  check(batch.v, want.dv);
}

TEST(AttentionBackward, IsTheSameBitsEverywhere) {
  for (const AttentionShape& shape : test_shapes()) {
    const AttentionBatch batch(shape, test_parts(), 24);
    const Buffer dout = output_grad(batch);
    const AttentionOutput forward = run_attention(batch, best_isa());
    const Grads want = run_backward(batch, forward, dout, Isa::Scalar, Team{});
    for (const Isa isa : isas_here()) {
      for (const int threads : {1, 2, 3}) {
        if (isa == Isa::Scalar && threads != 2) continue;  // slow
        EXPECT_TRUE(run_backward(batch, forward, dout, isa, thread_team(threads)) == want)
            << describe(shape) << name(isa);
      }
    }
  }
}

// A tree's gradients do not depend on what else is in the batch.
TEST(AttentionBackward, TreesDoNotMeet) {
  const AttentionShape shape = attention_shape(Type::F32, 4, 2, 32);
  const AttentionBatch alone(shape, {{-1, 0, 45}, {0, 45, 30}, {0, 45, 7}}, 25);
  AttentionBatch both(shape, {{-1, 0, 45}, {-1, 0, 50}, {0, 45, 30}, {1, 50, 9}, {0, 45, 7}}, 26);
  const std::int64_t from[] = {0, 45, 75}, to[] = {0, 95, 134}, lengths[] = {45, 30, 7};
  const auto copy_rows = [&](const Buffer& source, Buffer& target, std::int64_t width) {
    for (int s = 0; s < 3; ++s) {
      for (std::int64_t i = 0; i < lengths[s] * width; ++i) target.set(to[s] * width + i, source[from[s] * width + i]);
    }
  };
  const Buffer dout_alone = output_grad(alone);
  Buffer dout_both = output_grad(both);
  copy_rows(alone.q, both.q, 128);
  copy_rows(alone.k, both.k, 64);
  copy_rows(alone.v, both.v, 64);
  copy_rows(dout_alone, dout_both, 128);
  const Grads a = run_backward(alone, run_attention(alone, best_isa()), dout_alone, best_isa(), Team{});
  const Grads b = run_backward(both, run_attention(both, best_isa()), dout_both, best_isa(), thread_team(3));
  for (int s = 0; s < 3; ++s) {
    EXPECT_TRUE(a.dq.same(from[s] * 128, b.dq, to[s] * 128, lengths[s] * 128));
    EXPECT_TRUE(a.dk.same(from[s] * 64, b.dk, to[s] * 64, lengths[s] * 64));
    EXPECT_TRUE(a.dv.same(from[s] * 64, b.dv, to[s] * 64, lengths[s] * 64));
  }
}

TEST(AttentionBackward, RowsOfNoSequenceGetZero) {
  const AttentionBatch batch(attention_shape(Type::BF16, 2, 1, 16), {{-1, 0, 5}}, 27);
  const Grads g = run_backward(batch, run_attention(batch, best_isa()), output_grad(batch), best_isa(), Team{}, 2);
  for (std::int64_t i = 5 * 32; i < 7 * 32; ++i) EXPECT_EQ(g.dq[i], 0);
  for (std::int64_t i = 5 * 16; i < 7 * 16; ++i) EXPECT_EQ(g.dk[i] + g.dv[i], 0);
}

}  // namespace
}  // namespace grpo::kernels
