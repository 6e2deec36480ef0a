// dx = dy W and grad += dy^T x: the order of summation in every mixture of types, slabs, continued sums, threads.
#include <gtest/gtest.h>

#include "kernels/linear.h"
#include "kernels/linear_cases.h"

namespace grpo::kernels {
namespace {

struct Kind {
  Type dy, other, to;  // other: the weight, or x; to: dx, or the order of the gradient
};
std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (const Type dy : {Type::F32, Type::BF16})
    for (const Type other : {Type::F32, Type::BF16})
      for (const Type to : {Type::F32, Type::BF16}) all.push_back({dy, other, to});
  return all;
}

const void* data(Type type, const Floats& floats, const Halves& in_halves) {
  return type == Type::F32 ? static_cast<const void*>(floats.data()) : in_halves.data();
}
Floats exact(Type type, const Floats& x) { return type == Type::F32 ? x : widened(halves(x)); }

// The order of summation as kernels/linear.h states it: sum + the products a(k) b(k), k < n.
template <class A, class B>
float sum_in_order(const Kind& kind, std::int64_t n, float sum, const A& a, const B& b) {
  if (kind.dy == Type::F32 || kind.other == Type::F32) {
    for (std::int64_t k = 0; k < n; ++k) sum = std::fma(a(k), b(k), sum);
    return sum;
  }
  for (std::int64_t block = 0; block < n; block += 32) {
    float chain[2] = {0, 0};
    for (std::int64_t k = block; k < std::min(block + 32, n); ++k) chain[k % 2] = std::fma(a(k), b(k), chain[k % 2]);
    sum += chain[0] + chain[1];
  }
  return sum;
}

// A product's inputs (row-major), and how it is called.
struct Problem {
  Shape shape;
  Kind kind;
  Floats dy, x, weight;
  Floats dy_gaps, x_gaps, packed_floats;
  Halves dy_halves, x_halves, packed_halves;

  Problem(const Shape& s, const Kind& k) : shape(s), kind(k) {
    dy = exact(k.dy, random_floats(s.rows * columns(), 1));
    x = exact(k.other, random_floats(s.rows * s.in, 2));
    weight = exact(k.other, random_floats(s.out * s.in, 3));
    dy_gaps = with_gaps(dy, s.rows, columns());
    dy_halves = halves(dy_gaps);
    x_gaps = with_gaps(x, s.rows, s.in);
    x_halves = halves(x_gaps);
    packed_floats = packed(k.other, weight, s.out, s.in);
    packed_halves = halves(packed_floats);
  }
  std::int64_t columns() const { return shape.last - shape.first; }
  float dy_at(std::int64_t r, std::int64_t n) const {
    return dy[static_cast<std::size_t>(r * columns() + n - shape.first)];
  }

  LinearInputGradArgs input_grad_args() const {
    LinearInputGradArgs args;
    args.dy_type = kind.dy;
    args.dy = data(kind.dy, dy_gaps, dy_halves);
    args.rows = shape.rows;
    args.dy_stride = columns() + kGap;
    args.weight_type = kind.other;
    args.weight = data(kind.other, packed_floats, packed_halves);
    args.out = shape.out;
    args.in = shape.in;
    args.first = shape.first;
    args.last = shape.last;
    args.dx_stride = shape.in + kGap;
    return args;
  }
  LinearWeightGradArgs weight_grad_args() const {
    LinearWeightGradArgs args;
    args.dy_type = kind.dy;
    args.dy = data(kind.dy, dy_gaps, dy_halves);
    args.rows = shape.rows;
    args.dy_stride = columns() + kGap;
    args.x_type = kind.other;
    args.x = data(kind.other, x_gaps, x_halves);
    args.x_stride = shape.in + kGap;
    args.order = kind.to;
    args.out = shape.out;
    args.in = shape.in;
    args.first = shape.first;
    args.last = shape.last;
    return args;
  }

  // dx with its gaps, starting from `start` (F32 only) or written.
  Floats input_grad(Isa isa, const Team& team = {}, const Floats* start = nullptr) const {
    Floats dx(static_cast<std::size_t>(shape.rows * (shape.in + kGap)), kMark);
    if (start != nullptr) dx = with_gaps(*start, shape.rows, shape.in);
    Halves dx_halves = halves(dx);
    LinearInputGradArgs args = input_grad_args();
    args.accumulate = start != nullptr;
    args.dx_type = kind.to;
    args.dx = kind.to == Type::F32 ? static_cast<void*>(dx.data()) : dx_halves.data();
    linear_input_grad(args, isa, team);
    return kind.to == Type::F32 ? dx : widened(dx_halves);
  }
  Floats input_grad_expected(const Floats* start = nullptr) const {
    Floats dx;
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t k = 0; k < shape.in; ++k) {
        const float sum = sum_in_order(
            kind, columns(), start != nullptr ? (*start)[static_cast<std::size_t>(r * shape.in + k)] : 0.0f,
            [&](std::int64_t n) { return dy_at(r, shape.first + n); },
            [&](std::int64_t n) { return weight[static_cast<std::size_t>((shape.first + n) * shape.in + k)]; });
        dx.push_back(kind.to == Type::F32 ? sum : to_float(to_bf16(sum)));
      }
    }
    return with_gaps(dx, shape.rows, shape.in);
  }

  Floats start_grad() const { return packed(kind.to, random_floats(shape.out * shape.in, 7), shape.out, shape.in); }
  Floats start_bias() const { return random_floats(shape.out, 8); }
  Floats weight_grad(Isa isa, const Team& team = {}) const {
    Floats grad = start_grad(), bias = start_bias();
    LinearWeightGradArgs args = weight_grad_args();
    args.grad = grad.data();
    args.bias_grad = bias.data();
    linear_weight_grad(args, isa, team);
    grad.insert(grad.end(), bias.begin(), bias.end());
    return grad;
  }
  Floats weight_grad_expected() const {
    Floats grad = start_grad(), bias = start_bias();
    for (std::int64_t n = shape.first; n < shape.last; ++n) {
      for (std::int64_t k = 0; k < shape.in; ++k) {
        float& sum = grad[static_cast<std::size_t>(packed_index(kind.to, shape.in, n, k))];
        sum = sum_in_order(
            kind, shape.rows, sum, [&](std::int64_t r) { return x[static_cast<std::size_t>(r * shape.in + k)]; },
            [&](std::int64_t r) { return dy_at(r, n); });
      }
      for (std::int64_t r = 0; r < shape.rows; ++r) bias[static_cast<std::size_t>(n)] += dy_at(r, n);
    }
    grad.insert(grad.end(), bias.begin(), bias.end());
    return grad;
  }
  std::string text(Isa isa) const {
    const auto letter = [](Type type) { return type == Type::F32 ? "f" : "b"; };
    return std::string(name(isa)) + " " + letter(kind.dy) + letter(kind.other) + letter(kind.to) + " " + shape.text();
  }
};

TEST(LinearInputGrad, FollowsTheWrittenOrderBitForBit) {
  for (const Kind& kind : kinds()) {
    for (const Shape& shape : small_shapes()) {
      const Problem p(shape, kind);
      const Floats dx = p.input_grad_expected();
      for (const Isa isa : isas_here()) expect_same_bits(p.input_grad(isa), dx, p.text(isa));
    }
  }
}

TEST(LinearWeightGrad, ContinuesTheGradientsSumBitForBit) {
  for (const Kind& kind : kinds()) {
    for (const Shape& shape : small_shapes()) {
      const Problem p(shape, kind);
      const Floats grad = p.weight_grad_expected();
      for (const Isa isa : isas_here()) expect_same_bits(p.weight_grad(isa), grad, p.text(isa));
    }
  }
}

TEST(LinearGrad, HoldsPastEveryBlock) {
  for (const Kind& kind : {Kind{Type::F32, Type::F32, Type::F32}, Kind{Type::BF16, Type::BF16, Type::BF16}}) {
    for (const Shape& shape : large_shapes()) {
      const Problem p(shape, kind);
      const Floats dx = p.input_grad_expected(), grad = p.weight_grad_expected();
      for (const Isa isa : isas_here()) {
        if (isa == Isa::Scalar) continue;
        expect_same_bits(p.input_grad(isa), dx, "dx " + p.text(isa));
        expect_same_bits(p.weight_grad(isa), grad, "grad " + p.text(isa));
      }
    }
  }
  // More outputs than are copied at once.
  const Problem wide({33, 20, 2100, 0, 2100}, {Type::F32, Type::BF16, Type::F32});
  for (const Isa isa : isas_here()) expect_same_bits(wide.input_grad(isa), wide.input_grad_expected(), wide.text(isa));
}

// u = 2^-24; a chain of n fused steps errs by at most n u / (1 - n u) times the sum of |a b|.
TEST(LinearInputGrad, StaysWithinTheBoundOfItsRoundings) {
  const Problem p({33, 50, 70, 16, 67}, {Type::F32, Type::F32, Type::F32});
  for (const Isa isa : isas_here()) {
    const Floats dx = p.input_grad(isa);
    const double n_u = static_cast<double>(p.columns()) * std::ldexp(1.0, -24);
    for (std::int64_t r = 0; r < p.shape.rows; ++r) {
      for (std::int64_t k = 0; k < p.shape.in; ++k) {
        double sum = 0, magnitude = 0;
        for (std::int64_t n = p.shape.first; n < p.shape.last; ++n) {
          const double product = static_cast<double>(p.dy_at(r, n)) *
                                 static_cast<double>(p.weight[static_cast<std::size_t>(n * p.shape.in + k)]);
          sum += product;
          magnitude += std::abs(product);
        }
        const float got = dx[static_cast<std::size_t>(r * (p.shape.in + kGap) + k)];
        ASSERT_LE(std::abs(static_cast<double>(got) - sum), n_u / (1 - n_u) * magnitude) << p.text(isa);
      }
    }
  }
}

TEST(LinearInputGrad, SlabsInOrderContinueOneChain) {
  const Problem whole({20, 37, 100, 0, 100}, {Type::F32, Type::F32, Type::F32});
  const Floats start = random_floats(20 * 37, 9);
  for (const Isa isa : isas_here()) {
    expect_same_bits(whole.input_grad(isa, {}, &start), whole.input_grad_expected(&start), whole.text(isa));
    Floats dx = with_gaps(start, 20, 37);
    for (const auto& [first, last] : {std::pair{0, 48}, std::pair{48, 64}, std::pair{64, 100}}) {
      LinearInputGradArgs args = whole.input_grad_args();
      args.dy = whole.dy_gaps.data() + first;
      args.first = first;
      args.last = last;
      args.accumulate = true;
      args.dx = dx.data();
      linear_input_grad(args, isa, {});
    }
    expect_same_bits(dx, whole.input_grad_expected(&start), "slabs " + whole.text(isa));
  }
}

TEST(LinearWeightGrad, RowsInTwoCallsContinueOneChain) {
  for (const Type order : {Type::F32, Type::BF16}) {
    const Problem whole({45, 37, 50, 16, 50}, {Type::F32, Type::F32, order});
    for (const Isa isa : isas_here()) {
      Floats grad = whole.start_grad(), bias = whole.start_bias();
      for (const auto& [begin, end] : {std::pair{0, 19}, std::pair{19, 45}}) {
        LinearWeightGradArgs args = whole.weight_grad_args();
        args.dy = whole.dy_gaps.data() + begin * args.dy_stride;
        args.x = whole.x_gaps.data() + begin * args.x_stride;
        args.rows = end - begin;
        args.grad = grad.data();
        args.bias_grad = bias.data();
        linear_weight_grad(args, isa, {});
      }
      grad.insert(grad.end(), bias.begin(), bias.end());
      expect_same_bits(grad, whole.weight_grad(isa), whole.text(isa));
    }
  }
}

TEST(LinearGrad, ThreadsLeaveNoTrace) {
  for (const Kind& kind : {Kind{Type::F32, Type::F32, Type::F32}, Kind{Type::BF16, Type::BF16, Type::BF16}}) {
    for (const Shape& shape : {Shape{70, 90, 200, 16, 200}, Shape{200, 301, 70, 0, 70}}) {
      const Problem p(shape, kind);
      for (const Isa isa : isas_here()) {
        for (const int size : {2, 3}) {
          expect_same_bits(p.input_grad(isa, thread_team(size)), p.input_grad(isa), "dx " + p.text(isa));
          expect_same_bits(p.weight_grad(isa, thread_team(size)), p.weight_grad(isa), "grad " + p.text(isa));
        }
      }
    }
  }
}

}  // namespace
}  // namespace grpo::kernels
