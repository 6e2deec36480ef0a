#include <cmath>
#include <limits>

#include "kernels/softmax.h"
#include "ops/checks.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

void check_options(const SampleOptions& options) {
  const auto check = [](bool good, const char* name, const char* expected, double got) {
    if (!good) ops::reject("sample", name, expected, std::to_string(got));
  };
  const bool greedy = options.temperature == 0;
  const float inverse = greedy ? 1 : kernels::inverse_temperature(options.temperature);
  check(inverse > 0 && std::isfinite(inverse), "temperature", "0 (greedy) or more", options.temperature);
  check(options.top_k >= 0, "top_k", "0 (off) or more", options.top_k);
  check(options.top_p > 0 && options.top_p <= 1, "top_p", "a share in (0, 1]", options.top_p);
  check(options.min_p >= 0 && options.min_p < 1, "min_p", "a share in [0, 1)", options.min_p);
}

// NaN and +inf have no distribution; -inf is probability 0.
void check_row(const float* logits, std::int64_t vocab, std::int64_t row) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  bool good = true, any = false;
  for (std::int64_t v = 0; v < vocab; ++v) {
    good &= logits[v] < kInf;
    any |= logits[v] > -kInf;
  }
  if (good && any) return;
  std::int64_t v = 0;
  while (v < vocab - 1 && logits[v] < kInf) ++v;
  throw Error("[sample] logits[" + std::to_string(row) + ", " + std::to_string(v) + "]: expected a number, got " +
                  (good ? "a row of -inf" : std::to_string(logits[v])),
              ErrorKind::Guard);
}

}  // namespace

std::vector<SampledToken> sample(const at::Tensor& logits, const std::vector<double>& uniforms,
                                 const SampleOptions& options) {
  check_options(options);
  const at::Tensor logits_NV =
      ops::activations("sample", "logits", logits, static_cast<std::int64_t>(uniforms.size()), ops::kAny);
  if (logits_NV.scalar_type() != at::kFloat) ops::reject("sample", "logits", "float32", ops::describe(logits));
  const std::int64_t rows = logits_NV.size(0), vocab = logits_NV.size(1);
  GRPO_CHECK(rows == 0 || vocab > 0, "[sample] logits: expected a vocabulary, got none");
  for (std::size_t i = 0; i < uniforms.size(); ++i) {
    if (uniforms[i] >= 0 && uniforms[i] < 1) continue;
    ops::reject("sample", "uniforms[" + std::to_string(i) + "]", "a number in [0, 1)", std::to_string(uniforms[i]));
  }
  const kernels::DrawOptions draw{.temperature = static_cast<float>(options.temperature),
                                  .top_k = options.top_k,
                                  .top_p = static_cast<float>(options.top_p),
                                  .min_p = static_cast<float>(options.min_p)};
  const float* values = logits_NV.const_data_ptr<float>();
  const kernels::Isa isa = ops::isa();
  std::vector<SampledToken> drawn(uniforms.size());
  ops::team().split(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      check_row(values + n * vocab, vocab, n);
      const auto i = static_cast<std::size_t>(n);
      const kernels::Draw d = kernels::draw(values + n * vocab, vocab, draw, uniforms[i], isa);
      drawn[i] = {d.token, d.logprob};
    }
  });
  return drawn;
}

}  // namespace grpo::inline GRPO_ABI
