#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/vector.h"

namespace grpo::kernels {

void chunk_stats(const float* logits, std::int64_t rows, std::int64_t n, std::int64_t stride, float inv_temperature,
                 ChunkStats* stats, std::int64_t stats_stride, Isa isa, const Team& team) {
  const std::int64_t chunks = (n + kVocabChunk - 1) / kVocabChunk;
  const VectorKernels& kernels = vector_kernels(isa);
  team.split(rows * chunks, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / chunks, chunk = i % chunks, first = chunk * kVocabChunk;
      float result[3];
      kernels.chunk_stats(logits + row * stride + first, inv_temperature, std::min(kVocabChunk, n - first), result);
      stats[row * stats_stride + chunk] = {result[0], result[1], result[2]};
    }
  });
}

RowStats merge_stats(const ChunkStats* stats, std::int64_t num_chunks) {
  float max = -std::numeric_limits<float>::infinity();
  for (std::int64_t c = 0; c < num_chunks; ++c) max = std::max(max, stats[c].max);
  double sum = 0, weighted = 0;
  for (std::int64_t c = 0; c < num_chunks; ++c) {
    if (stats[c].sum == 0) continue;  // all -inf; a NaN goes on
    const double below = static_cast<double>(stats[c].max) - max, factor = std::exp(below);
    sum += factor * stats[c].sum;
    weighted += factor * (stats[c].weighted + below * stats[c].sum);
  }
  const double log_sum = std::log(sum);
  return {max, log_sum, log_sum - weighted / sum};
}

float logprob(float logit, float inv_temperature, const RowStats& row) {
  return static_cast<float>((static_cast<double>(logit * inv_temperature) - row.max) - row.log_sum);
}

void softmax_grad(const SoftmaxGradArgs& args, Isa isa, const Team& team) {
  const std::int64_t pieces = (args.n + kVocabChunk - 1) / kVocabChunk;
  const VectorKernels& kernels = vector_kernels(isa);
  team.split(args.rows * pieces, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / pieces, first = i % pieces * kVocabChunk, n = std::min(kVocabChunk, args.n - first);
      const RowStats& stats = args.stats[row];
      float* x = args.logits + row * args.stride + first;
      const float scale = args.inv_temperature, grad = scale * args.grad_logprob[row];
      const float entropy_grad = args.grad_entropy != nullptr ? scale * args.grad_entropy[row] : 0;
      kernels.softmax_grad(x, n,
                           {scale, static_cast<float>(stats.max), static_cast<float>(stats.log_sum),
                            static_cast<float>(stats.entropy), -grad, -entropy_grad});
      const std::int64_t target = args.targets[row] - args.first - first;
      if (target >= 0 && target < n) x[target] += grad;
    }
  });
}

}  // namespace grpo::kernels
