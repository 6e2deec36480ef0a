#include "kernels/layers.h"

#include <gtest/gtest.h>

#include <functional>

#include "kernels/kernel_test.h"
#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

const std::vector<std::int64_t> kWidths = {1, 15, 16, 17, 48, 576, 1000};
const Type kTypes[] = {Type::F32, Type::BF16};

// Runs `compute` on every instruction set with 1, 2 and 3 threads and expects one result.
void expect_one_result(const std::function<std::vector<Buffer>(Isa, const Team&)>& compute) {
  const std::vector<Buffer> want = compute(Isa::Scalar, Team{});
  for (const Isa isa : isas_here()) {
    for (const int threads : {1, 2, 3}) EXPECT_TRUE(compute(isa, thread_team(threads)) == want) << name(isa) << threads;
  }
}

const float* floats(const Buffer& buffer) { return static_cast<const float*>(buffer.data()); }
float* floats(Buffer& buffer) { return static_cast<float*>(buffer.data()); }

// ---- embedding ----

TEST(Embedding, ReadsPackedRows) {
  for (const Type type : kTypes) {
    for (const std::int64_t width : {1, 2, 31, 33, 64}) {
      constexpr std::int64_t kVocab = 37;
      Buffer packed(type, packed_elements(type, kVocab, width));
      for (std::int64_t n = 0; n < kVocab; ++n) {
        for (std::int64_t k = 0; k < width; ++k)
          packed.set(packed_index(type, width, n, k), static_cast<double>((7 * n + 13 * k) % 251));
      }
      const std::vector<std::int32_t> ids = {0, 36, 15, 16, 17, 17};
      for (const int threads : {1, 3}) {
        Buffer out(type, 6 * width);
        embedding(type, packed.data(), width, ids.data(), 6, out.data(), thread_team(threads));
        for (std::int64_t t = 0; t < 6; ++t) {
          for (std::int64_t k = 0; k < width; ++k) EXPECT_EQ(out[t * width + k], (7 * ids[t] + 13 * k) % 251);
        }
      }
    }
  }
}

TEST(Embedding, GradientAddsRowsInOrder) {
  constexpr std::int64_t kVocab = 20, kRows = 3000;  // enough rows for threads to get single pairs of columns
  for (const Type type : kTypes) {
    for (const std::int64_t width : {1, 7, 32}) {
      Numbers numbers(1);
      const Buffer dy = numbers.normals(type, kRows * width);
      std::vector<std::int32_t> ids;
      for (std::int64_t t = 0; t < kRows; ++t) ids.push_back(static_cast<std::int32_t>(numbers.below(kVocab)));
      std::vector<float> want(packed_elements(type, kVocab, width), 0.5f);
      for (std::int64_t t = 0; t < kRows; ++t) {
        for (std::int64_t k = 0; k < width; ++k) {
          want[packed_index(type, width, ids[t], k)] += static_cast<float>(dy[t * width + k]);
        }
      }
      for (const int threads : {1, 2, 3}) {
        std::vector<float> grad(want.size(), 0.5f);
        embedding_grad(type, dy.data(), width, ids.data(), kRows, grad.data(), thread_team(threads));
        EXPECT_TRUE(same_bits(grad, want)) << width << threads;
      }
    }
  }
}

// ---- RMS norm ----

struct NormCase {
  Type type;
  std::int64_t rows, width;
  Buffer x, weight, dy;
};

NormCase norm_case(Type type, std::int64_t rows, std::int64_t width, double scale) {
  Numbers numbers(static_cast<std::uint64_t>(width));
  NormCase c{type,
             rows,
             width,
             numbers.normals(type, rows * width, scale),
             numbers.normals(Type::F32, width),
             numbers.normals(type, rows * width)};
  return c;
}

constexpr float kEps = 1e-5f;

double weight_of(const NormCase& c, std::int64_t k) {
  return c.type == Type::F32 ? c.weight[k] : to_float(to_bf16(static_cast<float>(c.weight[k])));
}
double inv_rms_of(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return 1 / std::sqrt(squares / static_cast<double>(x.size()) + kEps);
}
std::vector<double> row_of(const Buffer& x, std::int64_t row, std::int64_t width) {
  std::vector<double> values;
  for (std::int64_t k = 0; k < width; ++k) values.push_back(x[row * width + k]);
  return values;
}

// A lane of the mean takes width / 16 FMAs, the tree 4 additions; division, sum with eps, root and reciprocal round
// once.
double inv_rms_error(std::int64_t width) { return kUnit * (0.5 * static_cast<double>(width / 16 + 1 + 4 + 2) + 2); }

TEST(RmsNorm, MatchesDoubleWithinDerivedBounds) {
  for (const Type type : kTypes) {
    for (const std::int64_t width : kWidths) {
      for (const double scale : {1e-4, 1.0, 1e4}) {
        const NormCase c = norm_case(type, 3, width, scale);
        for (const Isa isa : isas_here()) {
          Buffer y(type, 3 * width), inv(Type::F32, 3);
          rms_norm(type, c.x.data(), floats(c.weight), kEps, 3, width, y.data(), floats(inv), isa, Team{});
          for (std::int64_t r = 0; r < 3; ++r) {
            const double want_inv = inv_rms_of(row_of(c.x, r, width));
            EXPECT_NEAR(inv[r], want_inv, 1.1 * want_inv * inv_rms_error(width));
            for (std::int64_t k = 0; k < width; ++k) {
              const double want = c.x[r * width + k] * want_inv * weight_of(c, k);
              EXPECT_NEAR(
                  y[r * width + k], want,
                  1.1 * std::abs(want) * (inv_rms_error(width) + 2 * kUnit + (type == Type::BF16 ? kUnitBf16 : 0)));
            }
          }
        }
      }
    }
  }
}

// L = sum dy y, in double.
double norm_loss(const NormCase& c, const std::vector<double>& x, const std::vector<double>& weight, std::int64_t r) {
  const double inv = inv_rms_of(x);
  double loss = 0;
  for (std::int64_t k = 0; k < c.width; ++k) loss += c.dy[r * c.width + k] * x[k] * inv * weight[k];
  return loss;
}

struct Bounded {
  double value, error;
};

// dx = inv (w dy - x inv^2 mean(w dy x)): the sum's lanes as above with two roundings more in each product.
std::vector<Bounded> norm_dx(const NormCase& c, std::int64_t r) {
  const std::vector<double> x = row_of(c.x, r, c.width);
  const double n = static_cast<double>(c.width), inv = inv_rms_of(x), e_inv = inv_rms_error(c.width);
  double sum = 0, size = 0;
  for (std::int64_t k = 0; k < c.width; ++k) {
    const double term = weight_of(c, k) * c.dy[r * c.width + k] * x[k];
    sum += term;
    size += std::abs(term);
  }
  const double e_sum = size * kUnit * static_cast<double>(c.width / 16 + 1 + 4 + 2);
  std::vector<Bounded> dx;
  for (std::int64_t k = 0; k < c.width; ++k) {
    const double direct = weight_of(c, k) * c.dy[r * c.width + k], pull = x[k] * inv * inv * sum / n;
    const double value = inv * (direct - pull);
    const double e_pull = std::abs(x[k]) * inv * inv * e_sum / n + std::abs(pull) * (2 * e_inv + 4 * kUnit);
    const double error = inv * (std::abs(direct) * kUnit + e_pull) + std::abs(value) * (e_inv + 2 * kUnit);
    dx.push_back({value, 1.1 * error + std::abs(value) * (c.type == Type::BF16 ? 1.1 * kUnitBf16 : 0) + 1e-30});
  }
  return dx;
}

TEST(RmsNormGrad, FormulaMatchesFiniteDifferences) {
  const NormCase c = norm_case(Type::F32, 1, 9, 1);
  const std::vector<double> x = row_of(c.x, 0, 9), weight = row_of(c.weight, 0, 9);
  const std::vector<Bounded> dx = norm_dx(c, 0);
  constexpr double kStep = 1e-5;  // truncation of order 1e-10, rounding 1e-16 / 1e-5
  for (std::size_t k = 0; k < 9; ++k) {
    std::vector<double> up = x, down = x;
    up[k] += kStep;
    down[k] -= kStep;
    EXPECT_NEAR(dx[k].value, (norm_loss(c, up, weight, 0) - norm_loss(c, down, weight, 0)) / (2 * kStep), 1e-8);
    up = down = weight;
    up[k] += kStep;
    down[k] -= kStep;
    const double dw = c.dy[static_cast<std::int64_t>(k)] * x[k] * inv_rms_of(x);
    EXPECT_NEAR(dw, (norm_loss(c, x, up, 0) - norm_loss(c, x, down, 0)) / (2 * kStep), 1e-8);
  }
}

TEST(RmsNormGrad, MatchesDoubleWithinDerivedBounds) {
  constexpr std::int64_t kRows = 40;
  for (const Type type : kTypes) {
    for (const std::int64_t width : kWidths) {
      const NormCase c = norm_case(type, kRows, width, 2);
      Buffer y(type, kRows * width), inv(Type::F32, kRows), dx(type, kRows * width), dw(Type::F32, width);
      rms_norm(type, c.x.data(), floats(c.weight), kEps, kRows, width, y.data(), floats(inv), best_isa(), Team{});
      dw.fill(3);
      rms_norm_grad(type, c.x.data(), floats(c.weight), floats(inv), c.dy.data(), kRows, width, dx.data(), floats(dw),
                    Team{});
      std::vector<double> want_dw(width, 3), size(width, 3);
      for (std::int64_t r = 0; r < kRows; ++r) {
        const std::vector<Bounded> want = norm_dx(c, r);
        const double inv_row = inv_rms_of(row_of(c.x, r, width));
        for (std::int64_t k = 0; k < width; ++k) {
          EXPECT_NEAR(dx[r * width + k], want[k].value, want[k].error);
          const double term = c.dy[r * width + k] * c.x[r * width + k] * inv_row;
          want_dw[k] += term;
          size[k] += std::abs(term);
        }
      }
      // kRows additions, two roundings and inv_rms's error in each term.
      for (std::int64_t k = 0; k < width; ++k) {
        EXPECT_NEAR(dw[k], want_dw[k], 1.1 * size[k] * (kUnit * (kRows + 2) + inv_rms_error(width)));
      }
    }
  }
}

TEST(RmsNorm, IsTheSameBitsEverywhere) {
  constexpr std::int64_t kRows = 300;
  for (const Type type : kTypes) {
    for (const std::int64_t width : kWidths) {
      const NormCase c = norm_case(type, kRows, width, 1);
      expect_one_result([&](Isa isa, const Team& team) {
        Buffer y(type, kRows * width), inv(Type::F32, kRows), dx(type, kRows * width), dw(Type::F32, width);
        dw.fill(0);
        rms_norm(type, c.x.data(), floats(c.weight), kEps, kRows, width, y.data(), floats(inv), isa, team);
        rms_norm_grad(type, c.x.data(), floats(c.weight), floats(inv), c.dy.data(), kRows, width, dx.data(), floats(dw),
                      team);
        return std::vector<Buffer>{y, inv, dx, dw};
      });
      // A row alone.
      Buffer all(type, kRows * width), one(type, width);
      rms_norm(type, c.x.data(), floats(c.weight), kEps, kRows, width, all.data(), nullptr, best_isa(), Team{});
      rms_norm(type, c.x.at(7 * width), floats(c.weight), kEps, 1, width, one.data(), nullptr, best_isa(), Team{});
      EXPECT_TRUE(one.same(0, all, 7 * width, width));
    }
  }
}

// ---- rotary positions ----

struct RopeCase {
  std::int64_t rows = 5, heads = 3, head = 10;
  std::vector<std::int32_t> positions = {0, 3, 1, 3, 6};
  std::vector<float> table;
};

RopeCase rope_case() {
  RopeCase c;
  for (int p = 0; p < 7; ++p) {
    for (int d = 0; d < c.head / 2; ++d) {
      const double angle = p * std::pow(10000.0, -2.0 * d / static_cast<double>(c.head));
      c.table.push_back(static_cast<float>(std::cos(angle)));
      c.table.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return c;
}

TEST(Rope, RotatesHalfSplitPairs) {
  const RopeCase c = rope_case();
  const std::int64_t width = c.heads * c.head, half = c.head / 2;
  for (const Type type : kTypes) {
    for (const bool inverse : {false, true}) {
      Numbers numbers(2);
      const Buffer x = numbers.normals(type, c.rows * width);
      for (const int threads : {1, 2, 3}) {
        Buffer y(type, c.rows * width);
        rope(type, x.data(), c.positions.data(), c.table.data(), c.rows, c.heads, c.head, inverse, y.data(), best_isa(),
             thread_team(threads));
        for (std::int64_t i = 0; i < c.rows * width; ++i) {
          const std::int64_t d = i % c.head, row = i / width;
          const bool second = d >= half;
          const float* angle = &c.table[(c.positions[row] * half + d % half) * 2];
          const double sine = inverse ? -angle[1] : angle[1];
          const double straight = x[i] * angle[0], cross = second ? x[i - half] * sine : -x[i + half] * sine;
          const double want = straight + cross;
          EXPECT_NEAR(
              y[i], want,
              1.1 * (kUnit * (std::abs(straight) + std::abs(cross)) + (kUnit + unit(type)) * std::abs(want)) + 1e-30);
        }
      }
    }
  }
}

TEST(Rope, InverseUndoesItInPlace) {
  const RopeCase c = rope_case();
  const std::int64_t n = c.rows * c.heads * c.head;
  Numbers numbers(3);
  const Buffer x = numbers.normals(Type::F32, n);
  Buffer y = x;
  for (const bool inverse : {false, true}) {
    rope(Type::F32, y.data(), c.positions.data(), c.table.data(), c.rows, c.heads, c.head, inverse, y.data(),
         best_isa(), Team{});
  }
  // Four products and two sums of numbers up to |x| sqrt(2), and cos^2 + sin^2 = 1 to two roundings.
  for (std::int64_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], x[i], 12 * kUnit * 5);
}

// ---- SwiGLU ----

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Buffer gates(Type type, std::int64_t n) {
  Numbers numbers(4);
  Buffer gate = numbers.normals(type, n, 4);
  const double extremes[] = {0, 80, -80, 87, -87, -88.7, -95, -120, 1000, -1000};
  for (std::int64_t i = 0; i < n && i < 10; ++i) gate.set(i, extremes[i]);
  return gate;
}

// exp within 2 ulp, then three roundings; results below the normal range lose up to 2^-149 times the factors.
TEST(Swiglu, MatchesDoubleWithinDerivedBounds) {
  for (const Type type : kTypes) {
    for (const std::int64_t n : {1, 15, 16, 17, 1000}) {
      Numbers numbers(5);
      const Buffer gate = gates(type, n), up = numbers.normals(type, n), dy = numbers.normals(type, n);
      for (const Isa isa : isas_here()) {
        Buffer y(type, n), dgate(type, n), dup(type, n);
        swiglu(type, gate.data(), up.data(), n, y.data(), isa, Team{});
        swiglu_grad(type, gate.data(), up.data(), dy.data(), n, dgate.data(), dup.data(), isa, Team{});
        const double last = type == Type::BF16 ? 1.1 * kUnitBf16 : 0;
        for (std::int64_t i = 0; i < n; ++i) {
          const double g = gate[i], s = sigmoid(g), relative = 1.1 * (kExpError + 4 * kUnit) + last;
          // 1 / (1 + exp(-g)) is 0 where exp overflows, from g = -88.7 down.
          const double lost = g < -80 ? std::exp(-88) * (1 + std::abs(g)) * 4 : 0;
          const double value = g * s * up[i], d_up = dy[i] * g * s, d_gate = dy[i] * up[i] * s * (1 + g * (1 - s));
          EXPECT_NEAR(y[i], value, relative * std::abs(value) + lost * std::abs(up[i]));
          EXPECT_NEAR(dup[i], d_up, relative * std::abs(d_up) + lost * std::abs(dy[i]));
          // 1 - s cancels: its error is that of s, (s (1 - s)) exp's and a rounding of 1.
          const double inner = s * (1 - s) * kExpError + 3 * kUnit;
          const double slope = s * (1.1 * std::abs(g) * inner + kUnit * (1 + std::abs(g)));
          EXPECT_NEAR(dgate[i], d_gate,
                      std::abs(dy[i] * up[i]) * (slope + lost) + (relative + 2 * kUnit) * std::abs(d_gate) + 1e-38)
              << g;
        }
      }
    }
  }
}

TEST(Swiglu, FormulaMatchesFiniteDifferences) {
  for (const double g : {-5.0, -1.3, 0.0, 0.4, 6.0}) {
    const double s = sigmoid(g), h = 1e-5;
    EXPECT_NEAR(s * (1 + g * (1 - s)), ((g + h) * sigmoid(g + h) - (g - h) * sigmoid(g - h)) / (2 * h), 1e-9);
  }
}

TEST(Swiglu, IsTheSameBitsEverywhere) {
  constexpr std::int64_t kN = 50003;  // more than one piece
  for (const Type type : kTypes) {
    Numbers numbers(6);
    const Buffer gate = gates(type, kN), up = numbers.normals(type, kN), dy = numbers.normals(type, kN);
    expect_one_result([&](Isa isa, const Team& team) {
      Buffer y(type, kN), dgate(type, kN), dup(type, kN);
      swiglu(type, gate.data(), up.data(), kN, y.data(), isa, team);
      swiglu_grad(type, gate.data(), up.data(), dy.data(), kN, dgate.data(), dup.data(), isa, team);
      return std::vector<Buffer>{y, dgate, dup};
    });
  }
}

TEST(Add, RoundsOnce) {
  constexpr std::int64_t kN = 40001;
  for (const Type type : kTypes) {
    Numbers numbers(7);
    const Buffer a = numbers.normals(type, kN), b = numbers.normals(type, kN, 0.01);
    for (const int threads : {1, 3}) {
      Buffer y(type, kN);
      add(type, a.data(), b.data(), kN, y.data(), best_isa(), thread_team(threads));
      Buffer want(type, kN);
      for (std::int64_t i = 0; i < kN; ++i) want.set(i, static_cast<double>(static_cast<float>(a[i] + b[i])));
      EXPECT_TRUE(y == want);
    }
  }
}

TEST(Narrowing, IsToBf16OnEveryInstructionSet) {
  const std::uint32_t patterns[] = {0,          0x80000000, 0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001,
                                    0x3f807fff, 0x00000001, 0x00008000, 0x00018000, 0x7f7fffff, 0x7f800000,
                                    0xff800000, 0x7f800001, 0x7fffffff, 0xffffffff, 0xff808000};
  for (const Isa isa : isas_here()) {
    for (const std::uint32_t bits : patterns) {
      const std::vector<float> x(19, std::bit_cast<float>(bits));
      std::vector<bf16> y(19);
      vector_kernels(isa).bf16.narrow(x.data(), 19, y.data());
      for (const bf16 got : y) EXPECT_EQ(got.bits, to_bf16(x[0]).bits) << name(isa) << " " << std::hex << bits;
    }
  }
}

}  // namespace
}  // namespace grpo::kernels
