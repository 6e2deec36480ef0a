// Speed of the matrix products: GFLOP/s of forward, input gradient and weight gradient beside LibTorch's (MKL in fp32,
// oneDNN in bf16, plain weights), in turns; and for few rows the rate at which weights are read, beside a plain read of
// the same bytes.
//   linear_bench [--threads N] [--type f32|bf16] [--isa NAME] [--seconds S] [rows in out]...
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <grpo/ops.h>

#include "kernels/adamw.h"
#include "kernels/linear.h"
#include "ops/threads.h"

namespace {

using namespace grpo::kernels;
using Clock = std::chrono::steady_clock;

struct Options {
  int threads = 2;
  Type type = Type::F32;
  Isa isa = best_isa();
  double seconds = 0.3;
  std::vector<std::int64_t> sizes;
};

// Best and median seconds of a call, over about `seconds`.
struct Timing {
  double best, median;
};
std::array<Timing, 2> time_in_turns(double seconds, const std::function<void()>& a, const std::function<void()>& b);

Timing time_calls(double seconds, const std::function<void()>& call) {
  return time_in_turns(seconds, call, [] {})[0];
}

// Two calls in turns.
std::array<Timing, 2> time_in_turns(double seconds, const std::function<void()>& a, const std::function<void()>& b) {
  a();
  b();
  std::array<std::vector<double>, 2> times;
  const auto start = Clock::now();
  do {
    for (std::size_t i = 0; i < 2; ++i) {
      const auto begin = Clock::now();
      (i == 0 ? a : b)();
      times[i].push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
  } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  std::array<Timing, 2> result;
  for (std::size_t i = 0; i < 2; ++i) {
    std::sort(times[i].begin(), times[i].end());
    result[i] = {times[i].front(), times[i][times[i].size() / 2]};
  }
  return result;
}

// Ratios of LibTorch's median time to ours.
std::vector<double> ratios;

void print_in_turns(const char* what, double flops, const std::array<Timing, 2>& t) {
  const double ratio = t[1].median / t[0].median;
  ratios.push_back(ratio);
  std::printf("  %s %6.1f, LibTorch %6.1f, ratio %.2f", what, flops / t[0].median * 1e-9, flops / t[1].median * 1e-9,
              ratio);
}

template <class T>
std::vector<T> random_values(std::int64_t n) {
  std::vector<T> x(static_cast<std::size_t>(n));
  std::uint32_t state = 1;
  for (T& value : x) {
    state = state * 1664525u + 1013904223u;
    const float f = static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
    if constexpr (sizeof(T) == sizeof(float)) {
      value = f;
    } else {
      value = to_bf16(f);
    }
  }
  return x;
}

// Reads every line of the array once, each thread in four streams.
std::uint64_t read_all(const void* data, std::int64_t bytes, const Team& team) {
  const auto* words = static_cast<const std::uint64_t*>(data);
  std::atomic<std::uint64_t> total{0};
  team.split(bytes / 256, 1024, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t stream = (end - begin) * 8;
    const std::uint64_t* at = words + begin * 32;
    std::uint64_t sums[32] = {};
    for (std::int64_t i = 0; i < stream; i += 8)
      for (int s = 0; s < 4; ++s)
        for (int j = 0; j < 8; ++j) sums[8 * s + j] += at[s * stream + i + j];
    for (const std::uint64_t sum : sums) total += sum;
  });
  return total;
}

template <class T>
void bench_shape(const Options& options, std::int64_t rows, std::int64_t in, std::int64_t out, const Team& team) {
  const auto x = random_values<T>(rows * in), dy = random_values<T>(rows * out);
  const std::int64_t size = packed_elements(options.type, out, in);
  // Enough copies of the weight that none stays in the caches from call to call, when few rows make that matter.
  const std::int64_t bytes = size * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t copies = rows <= 64 ? 1 + (std::int64_t{256} << 20) / bytes : 1;
  const auto weight = random_values<T>(size * copies);
  std::vector<float> y(static_cast<std::size_t>(rows * out)), dx(static_cast<std::size_t>(rows * in)),
      grad(static_cast<std::size_t>(rows > 64 ? size : 0));
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  const at::ScalarType scalar = options.type == Type::F32 ? at::kFloat : at::kBFloat16;
  const at::Tensor torch_x = at::randn({rows > 64 ? rows : 0, in}).to(scalar);
  const at::Tensor torch_dy = at::randn({rows > 64 ? rows : 0, out}).to(scalar);
  const at::Tensor torch_weight = at::randn({rows > 64 ? out : 0, in}).to(scalar);
  std::printf("%5ld x %5ld -> %6ld ", static_cast<long>(rows), static_cast<long>(in), static_cast<long>(out));

  std::int64_t turn = 0;
  LinearArgs forward{.type = options.type,
                     .x = x.data(),
                     .rows = rows,
                     .in = in,
                     .x_stride = in,
                     .out = out,
                     .last = out,
                     .y = y.data(),
                     .y_stride = out};
  const auto ours = [&] {
    forward.weight = weight.data() + turn++ % copies * size;
    linear(forward, options.isa, team);
  };
  if (rows <= 64) {
    const Timing f = time_calls(options.seconds, ours);
    std::printf(" forward %6.1f (median %6.1f) GFLOP/s", flops / f.best * 1e-9, flops / f.median * 1e-9);
    std::uint64_t sink = 0;
    const Timing r =
        time_calls(options.seconds, [&] { sink += read_all(weight.data() + turn++ % copies * size, bytes, team); });
    std::printf(" %5.1f (%5.1f) GB/s, read %5.1f (%5.1f) GB/s%s\n", bytes / f.best * 1e-9, bytes / f.median * 1e-9,
                bytes / r.best * 1e-9, bytes / r.median * 1e-9, sink == 42 ? " " : "");
    return;
  }
  print_in_turns("forward", flops, time_in_turns(options.seconds, ours, [&] { at::mm(torch_x, torch_weight.t()); }));
  const LinearInputGradArgs input_grad{.dy_type = options.type,
                                       .dy = dy.data(),
                                       .rows = rows,
                                       .dy_stride = out,
                                       .weight_type = options.type,
                                       .weight = weight.data(),
                                       .out = out,
                                       .in = in,
                                       .last = out,
                                       .dx = dx.data(),
                                       .dx_stride = in};
  print_in_turns("input grad", flops,
                 time_in_turns(
                     options.seconds, [&] { linear_input_grad(input_grad, options.isa, team); },
                     [&] { at::mm(torch_dy, torch_weight); }));
  const LinearWeightGradArgs weight_grad{.dy_type = options.type,
                                         .dy = dy.data(),
                                         .rows = rows,
                                         .dy_stride = out,
                                         .x_type = options.type,
                                         .x = x.data(),
                                         .x_stride = in,
                                         .order = options.type,
                                         .grad = grad.data(),
                                         .out = out,
                                         .in = in,
                                         .last = out};
  print_in_turns("weight grad", flops,
                 time_in_turns(
                     options.seconds, [&] { linear_weight_grad(weight_grad, options.isa, team); },
                     [&] { at::mm(torch_dy.t(), torch_x); }));
  std::printf("\n");
}

void bench_adamw(const Options& options, const Team& team) {
  constexpr std::int64_t kElements = 16 << 20;
  std::vector<float> w(kElements), g(kElements), m(kElements), v(kElements);
  const AdamWArgs args{.master = w.data(),
                       .grad = g.data(),
                       .moment1 = m.data(),
                       .moment2 = v.data(),
                       .n = kElements,
                       .learning_rate = 1e-4};
  const Timing t = time_calls(options.seconds, [&] { adamw(args, team); });
  std::printf("adamw %.2f (%.2f) G elements/s, %.1f GB/s\n", kElements / t.best * 1e-9, kElements / t.median * 1e-9,
              28.0 * kElements / t.best * 1e-9);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const auto value = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
    if (arg == "--threads") {
      options.threads = std::atoi(value().c_str());
    } else if (arg == "--type") {
      options.type = value() == "bf16" ? Type::BF16 : Type::F32;
    } else if (arg == "--isa") {
      const std::string wanted = value();
      options.isa = *std::find_if(std::begin(kIsas), std::end(kIsas), [&](Isa isa) { return wanted == name(isa); });
    } else if (arg == "--seconds") {
      options.seconds = std::atof(value().c_str());
    } else {
      options.sizes.push_back(std::atol(arg.c_str()));
    }
  }
  if (options.sizes.size() < 3)
    options.sizes = {1,    576, 1536, 4,   576, 1536, 8,    576, 1536, 16,  576,  1536, 1,    2048, 2048, 16,  2048,
                     2048, 512, 576,  576, 512, 576,  1536, 512, 1536, 576, 2048, 576,  1536, 2048, 1024, 3072};
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  grpo::set_threads(options.threads);
  const Team team = grpo::ops::team();
  std::printf("%s, %d threads\n", name(options.isa), options.threads);
  for (std::size_t i = 0; i + 3 <= options.sizes.size(); i += 3) {
    const auto bench = options.type == Type::F32 ? bench_shape<float> : bench_shape<bf16>;
    bench(options, options.sizes[i], options.sizes[i + 1], options.sizes[i + 2], team);
  }
  bench_adamw(options, team);
  if (ratios.empty()) return 0;
  double logs = 0;
  for (const double ratio : ratios) logs += std::log(ratio);
  std::printf("to LibTorch: least %.2f, geometric mean %.2f\n", *std::min_element(ratios.begin(), ratios.end()),
              std::exp(logs / static_cast<double>(ratios.size())));
}
