#include <cmath>
#include <limits>

#include "ops/checks.h"
#include "ops/draw.h"
#include "ops/threads.h"

namespace grpo::ops {
namespace {

void check_options(const SampleOptions& options) {
  const auto check = [](bool good, const char* name, const char* expected, double got) {
    if (!good) reject("sample", name, expected, std::to_string(got));
  };
  const bool greedy = options.temperature == 0;
  const float inverse = greedy ? 1 : kernels::inverse_temperature(options.temperature);
  check(inverse > 0 && std::isfinite(inverse), "temperature", "0 (greedy) or more", options.temperature);
  check(options.top_k >= 0, "top_k", "0 (off) or more", options.top_k);
  check(options.top_p > 0 && options.top_p <= 1, "top_p", "a share in (0, 1]", options.top_p);
  check(options.min_p >= 0 && options.min_p < 1, "min_p", "a share in [0, 1)", options.min_p);
}

// NaN and +inf have no distribution; -inf is probability 0.
[[noreturn]] void reject_row(const float* logits, std::int64_t vocab, std::int64_t row) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::int64_t v = 0;
  while (v < vocab && logits[v] < kInf) ++v;
  const bool all_banned = v == vocab;
  throw Error("[sample] logits[" + std::to_string(row) + ", " + std::to_string(all_banned ? vocab - 1 : v) +
                  "]: expected a number, got " + (all_banned ? "a row of -inf" : std::to_string(logits[v])),
              ErrorKind::Guard);
}

}  // namespace

kernels::DrawOptions checked_draw(const SampleOptions& options, const std::vector<double>& uniforms) {
  check_options(options);
  for (std::size_t i = 0; i < uniforms.size(); ++i) {
    if (uniforms[i] >= 0 && uniforms[i] < 1) continue;
    reject("sample", "uniforms[" + std::to_string(i) + "]", "a number in [0, 1)", std::to_string(uniforms[i]));
  }
  return {.temperature = static_cast<float>(options.temperature),
          .top_k = options.top_k,
          .top_p = static_cast<float>(options.top_p),
          .min_p = static_cast<float>(options.min_p)};
}

std::vector<SampledToken> draw_rows(const float* logits, const kernels::ChunkStats* stats, std::int64_t rows,
                                    std::int64_t vocab, const kernels::DrawOptions& options,
                                    const std::vector<double>& uniforms) {
  std::vector<SampledToken> drawn(static_cast<std::size_t>(rows));
  team().split(rows, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const kernels::Draw d = kernels::draw(logits + n * vocab, stats + n * kernels::vocab_chunks(vocab), vocab,
                                            options, uniforms[static_cast<std::size_t>(n)], isa());
      if (d.token < 0) reject_row(logits + n * vocab, vocab, n);
      drawn[static_cast<std::size_t>(n)] = {d.token, d.logprob};
    }
  });
  return drawn;
}

}  // namespace grpo::ops

namespace grpo::inline GRPO_ABI {

std::vector<SampledToken> sample(const at::Tensor& logits, const std::vector<double>& uniforms,
                                 const SampleOptions& options) {
  const kernels::DrawOptions draw = ops::checked_draw(options, uniforms);
  const at::Tensor logits_NV =
      ops::activations("sample", "logits", logits, static_cast<std::int64_t>(uniforms.size()), ops::kAny);
  if (logits_NV.scalar_type() != at::kFloat) ops::reject("sample", "logits", "float32", ops::describe(logits));
  const std::int64_t rows = logits_NV.size(0), vocab = logits_NV.size(1), chunks = kernels::vocab_chunks(vocab);
  GRPO_CHECK(rows == 0 || vocab > 0, "[sample] logits: expected a vocabulary, got none");
  const float* values = logits_NV.const_data_ptr<float>();
  std::vector<kernels::ChunkStats> stats(static_cast<std::size_t>(rows * chunks));
  kernels::chunk_stats(values, rows, vocab, vocab, kernels::draw_scale(draw), stats.data(), chunks, ops::isa(),
                       ops::team());
  return ops::draw_rows(values, stats.data(), rows, vocab, draw, uniforms);
}

}  // namespace grpo::inline GRPO_ABI
