// y = x W^T: the order of summation written out, error bounds against double, rows alone and in batches, threads.
#include "kernels/linear.h"

#include <gtest/gtest.h>

#include "kernels/linear_cases.h"

namespace grpo::kernels {
namespace {

struct Problem {
  Shape shape;
  Type type, y_type;
  bool with_bias;
  Floats x, weight, bias;  // row-major; exact bf16 values when type is BF16
  Halves x_halves, packed_halves;
  Floats x_gaps, packed_floats;

  Problem(const Shape& s, Type t, Type y, bool bias_given, unsigned seed = 1)
      : shape(s), type(t), y_type(y), with_bias(bias_given) {
    x = random_floats(s.rows * s.in, seed);
    weight = random_floats(s.out * s.in, seed + 1);
    bias = random_floats(s.out, seed + 2);
    prepare();
  }
  void prepare() {
    if (type == Type::BF16) {
      x = widened(halves(x));
      weight = widened(halves(weight));
    }
    x_gaps = with_gaps(x, shape.rows, shape.in);
    x_halves = halves(x_gaps);
    packed_floats = packed(type, weight, shape.out, shape.in);
    packed_halves = halves(packed_floats);
  }
  std::int64_t columns() const { return shape.last - shape.first; }

  // y with its gaps, as floats.
  Floats run(Isa isa, const Team& team = {}) const {
    Floats y(static_cast<std::size_t>(shape.rows * (columns() + kGap)), kMark);
    Halves y_halves = halves(y);
    LinearArgs args;
    args.type = type;
    args.x = type == Type::F32 ? static_cast<const void*>(x_gaps.data()) : x_halves.data();
    args.rows = shape.rows;
    args.in = shape.in;
    args.x_stride = shape.in + kGap;
    args.weight = type == Type::F32 ? static_cast<const void*>(packed_floats.data()) : packed_halves.data();
    args.out = shape.out;
    args.first = shape.first;
    args.last = shape.last;
    args.bias = with_bias ? bias.data() : nullptr;
    args.y_type = y_type;
    args.y = y_type == Type::F32 ? static_cast<void*>(y.data()) : y_halves.data();
    args.y_stride = columns() + kGap;
    linear(args, isa, team);
    return y_type == Type::F32 ? y : widened(y_halves);
  }

  const float* row(std::int64_t r) const { return x.data() + r * shape.in; }
  const float* weights(std::int64_t n) const { return weight.data() + n * shape.in; }
};

float flushed(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }

// The order of summation as kernels/linear.h states it.
float sum_in_order(const Problem& p, std::int64_t r, std::int64_t n) {
  const float *a = p.row(r), *b = p.weights(n);
  float sum = 0;
  if (p.type == Type::F32) {
    for (std::int64_t k = 0; k < p.shape.in; ++k) sum = std::fma(a[k], b[k], sum);
    return sum;
  }
  for (std::int64_t block = 0; block < p.shape.in; block += 32) {
    float chain[2] = {0, 0};
    for (std::int64_t k = block; k < std::min(block + 32, p.shape.in); ++k)
      chain[k % 2] = flushed(std::fma(flushed(a[k]), flushed(b[k]), chain[k % 2]));
    sum = flushed(sum + flushed(chain[0] + chain[1]));
  }
  return sum;
}

Floats expected(const Problem& p) {
  Floats y;
  for (std::int64_t r = 0; r < p.shape.rows; ++r) {
    for (std::int64_t n = p.shape.first; n < p.shape.last; ++n) {
      float value = sum_in_order(p, r, n);
      if (p.with_bias) value += p.bias[static_cast<std::size_t>(n)];
      y.push_back(p.y_type == Type::F32 ? value : to_float(to_bf16(value)));
    }
  }
  return with_gaps(y, p.shape.rows, p.columns());
}

template <class Check>
void for_each_kind(const std::vector<Shape>& shapes, const Check& check) {
  for (const Shape& shape : shapes)
    for (const Type type : {Type::F32, Type::BF16})
      for (const Type y_type : {Type::F32, Type::BF16})
        for (const bool bias : {false, true}) check(Problem(shape, type, y_type, bias));
}

std::string text(const Problem& p, Isa isa) {
  return std::string(name(isa)) + (p.type == Type::F32 ? " f32 " : " bf16 ") + p.shape.text();
}

TEST(Linear, FollowsTheWrittenOrderBitForBit) {
  for_each_kind(small_shapes(), [](const Problem& p) {
    const Floats y = expected(p);
    for (const Isa isa : isas_here()) expect_same_bits(p.run(isa), y, text(p, isa));
  });
}

TEST(Linear, FollowsTheWrittenOrderPastEveryBlock) {
  for (const Shape& shape : large_shapes()) {
    for (const Type type : {Type::F32, Type::BF16}) {
      const Problem p(shape, type, type, true);
      const Floats y = expected(p);
      for (const Isa isa : isas_here())
        if (isa != Isa::Scalar) expect_same_bits(p.run(isa), y, text(p, isa));
    }
  }
}

// A sum whose longest chain of roundings is d long errs by at most d u / (1 - d u) times the sum of |a b|, u = 2^-24.
TEST(Linear, StaysWithinTheBoundOfItsRoundings) {
  for_each_kind({{17, 65, 80, 0, 80}, {70, 64, 37, 16, 37}, {3, 1100, 40, 0, 40}}, [](const Problem& p) {
    const double u = std::ldexp(1.0, -24), half = std::ldexp(1.0, -8);
    const double depth = p.type == Type::F32 ? static_cast<double>(p.shape.in) : 17 + std::ceil(p.shape.in / 32.0);
    for (const Isa isa : isas_here()) {
      const Floats y = p.run(isa);
      for (std::int64_t r = 0; r < p.shape.rows; ++r) {
        for (std::int64_t n = p.shape.first; n < p.shape.last; ++n) {
          double sum = 0, magnitude = 0;
          for (std::int64_t k = 0; k < p.shape.in; ++k) {
            const double product = static_cast<double>(p.row(r)[k]) * static_cast<double>(p.weights(n)[k]);
            sum += product;
            magnitude += std::abs(product);
          }
          double bound = depth * u / (1 - depth * u) * magnitude;
          if (p.with_bias) {
            sum += static_cast<double>(p.bias[static_cast<std::size_t>(n)]);
            bound += u * (std::abs(sum) + bound);
          }
          if (p.y_type == Type::BF16) bound += half * (std::abs(sum) + bound);
          const float got = y[static_cast<std::size_t>(r * (p.columns() + kGap) + n - p.shape.first)];
          ASSERT_LE(std::abs(static_cast<double>(got) - sum), bound)
              << text(p, isa) << " at " << r << ", " << n << ": got " << got << ", expected " << sum;
        }
      }
    }
  });
}

TEST(Linear, RowDoesNotDependOnItsBatch) {
  for (const Type type : {Type::F32, Type::BF16}) {
    const Problem all({70, 97, 83, 16, 83}, type, Type::F32, true);
    const std::int64_t width = all.columns() + kGap;
    for (const Isa isa : isas_here()) {
      if (isa == Isa::Scalar) continue;
      const Floats y = all.run(isa);
      for (std::int64_t rows = 1; rows < 70; rows += rows < 34 ? 1 : 7) {
        for (const std::int64_t begin : {std::int64_t{0}, (70 - rows) / 2, 70 - rows}) {
          Problem part = all;
          part.shape.rows = rows;
          part.x_gaps.erase(part.x_gaps.begin(), part.x_gaps.begin() + begin * (all.shape.in + kGap));
          part.x_halves = halves(part.x_gaps);
          const Floats same(y.begin() + begin * width, y.begin() + (begin + rows) * width);
          expect_same_bits(part.run(isa), same, text(part, isa) + " from row " + std::to_string(begin));
        }
      }
    }
  }
}

TEST(Linear, ThreadsLeaveNoTrace) {
  for (const Shape& shape : {Shape{5, 300, 200, 16, 200}, Shape{70, 64, 300, 0, 300}, Shape{600, 40, 70, 0, 70}}) {
    for (const Type type : {Type::F32, Type::BF16}) {
      const Problem p(shape, type, type, false);
      for (const Isa isa : isas_here()) {
        const Floats y = p.run(isa);
        for (const int size : {2, 3}) expect_same_bits(p.run(isa, thread_team(size)), y, text(p, isa));
      }
    }
  }
}

TEST(Linear, ExtremeValuesStayInTheirPlace) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const Type type : {Type::F32, Type::BF16}) {
    Problem p({19, 45, 39, 0, 39}, type, Type::F32, false);
    p.x[0 * 45 + 44] = infinity;
    p.x[1 * 45 + 3] = nan;
    p.x[2 * 45 + 7] = 3e38f;
    p.weight[5 * 45 + 7] = 3e38f;
    p.weight[6 * 45 + 7] = -3e38f;
    for (std::size_t k = 0; k < 45; ++k) p.x[4 * 45 + k] = 1e-40f, p.x[5 * 45 + k] = -0.0f, p.x[6 * 45 + k] = 2e-38f;
    for (std::size_t k = 0; k < 45; ++k) p.weight[7 * 45 + k] = k % 3 == 0 ? 1e-40f : 0.4f;
    p.prepare();
    const Floats y = expected(p);
    EXPECT_TRUE(std::isinf(y[0]) && std::isnan(y[39 + kGap]) && y[2 * (39 + kGap) + 5] == infinity);
    for (const Isa isa : isas_here()) expect_same_bits(p.run(isa), y, text(p, isa));
  }
}

// What an earlier call left in the scratch memory is NaN here.
TEST(Linear, PaddingOfTheInputIsZero) {
  Problem before({19, 64, 39, 0, 39}, Type::BF16, Type::F32, false);
  before.x.assign(before.x.size(), std::numeric_limits<float>::quiet_NaN());
  before.prepare();
  const Problem p({19, 45, 39, 0, 39}, Type::BF16, Type::F32, false);
  for (const Isa isa : isas_here()) {
    before.run(isa);
    expect_same_bits(p.run(isa), expected(p), text(p, isa));
  }
}

TEST(Isa, BestRunsAndHasAName) {
  EXPECT_TRUE(isa_runs(best_isa()));
  EXPECT_TRUE(isa_runs(Isa::Scalar));
  EXPECT_STREQ(name(Isa::Avx512), "avx512");
}

}  // namespace
}  // namespace grpo::kernels
