// Softmax over a vocabulary in fixed chunks: log-probs, entropy, their gradient, and sampling.
//
// A row's statistics are taken per chunk of kVocabChunk entries (maximum; sums of exp(z - max) and of exp(z - max) z in
// 16 interleaved fp32 lanes, added pairwise), then merged over chunks in order, in double. Sampler and trainer use
// these same functions on the same logits, so their log-probs agree bit for bit. z = logit * inv_temperature.
#pragma once

#include <cstdint>

#include "kernels/linear.h"
#include "kernels/threads.h"

namespace grpo::kernels {

inline constexpr std::int64_t kVocabChunk = 1024;
inline std::int64_t vocab_chunks(std::int64_t vocab) { return (vocab + kVocabChunk - 1) / kVocabChunk; }

// The factor that everything here takes, computed in one way for sampler and trainer. temperature > 0.
inline float inverse_temperature(double temperature) {
  return static_cast<float>(1.0 / static_cast<double>(static_cast<float>(temperature)));
}

struct ChunkStats {
  float max;       // of z; -inf for an empty or all -inf chunk
  float sum;       // of exp(z - max)
  float weighted;  // of exp(z - max) * (z - max)
};
struct RowStats {
  double max, log_sum;  // log of the sum over the row of exp(z - max)
  double entropy;       // nats
};

// stats[row * stats_stride + c] for the chunks of logits [rows, n] (n entries from a chunk boundary on; row stride in
// elements).
void chunk_stats(const float* logits, std::int64_t rows, std::int64_t n, std::int64_t stride, float inv_temperature,
                 ChunkStats* stats, std::int64_t stats_stride, Isa isa, const Team& team);
RowStats merge_stats(const ChunkStats* stats, std::int64_t num_chunks);
// The log-prob of an entry: (z - max) - log_sum, in fp64, rounded once to fp32.
float logprob(float logit, float inv_temperature, const RowStats& row);

// In place: logits become d(loss)/d(logit) for entries [first, first + n) of the vocabulary:
//   inv_temperature * ( g_lp (1[v = target] - p_v) - g_h p_v (log p_v + H) ).
struct SoftmaxGradArgs {
  float* logits = nullptr;  // [rows, n], row stride `stride`
  std::int64_t rows = 0, n = 0, stride = 0, first = 0;
  float inv_temperature = 1;
  const std::int32_t* targets = nullptr;  // [rows]
  const RowStats* stats = nullptr;        // [rows]
  const float* grad_logprob = nullptr;    // [rows]
  const float* grad_entropy = nullptr;    // [rows] or null
};
void softmax_grad(const SoftmaxGradArgs& args, Isa isa, const Team& team);

// One draw from softmax(logits * inv_temperature), truncated when asked; u in [0, 1).
struct DrawOptions {
  float temperature = 1;   // 0: greedy, ties to the lowest id; the log-prob is then that of the raw distribution
  std::int32_t top_k = 0;  // 0: off
  float top_p = 1;
  float min_p = 0;
};
struct Draw {
  std::int32_t token;  // -1: NaN or +inf among the logits, or all of them -inf
  float logprob;       // under the distribution drawn from (renormalised when truncated)
};
// Untruncated: inverse CDF over the chunks in order. Truncated: kept set by probability (ties by id; top_k, then top_p
// on what is left, then min_p relative to the maximum), inverse CDF over the kept set in id order. top_p keeps the
// shortest list that reaches it, never less than one token. A token whose probability rounds to 0 (-inf: banned) is
// never drawn.
// `stats`: of the row, taken with draw_scale(options).
Draw draw(const float* logits, const ChunkStats* stats, std::int64_t vocab, const DrawOptions& options, double u,
          Isa isa);
inline float draw_scale(const DrawOptions& options) {
  return options.temperature == 0 ? 1 : inverse_temperature(static_cast<double>(options.temperature));
}

// Logits of hidden rows and their statistics in one pass over the head.
struct HeadArgs {
  Type type = Type::F32;         // of hidden and of the packed weight
  const void* hidden = nullptr;  // [rows, width]
  std::int64_t rows = 0, width = 0;
  const void* weight = nullptr;  // packed [vocab, width]
  std::int64_t vocab = 0;
  float inv_temperature = 1;
  float* logits = nullptr;      // [rows, vocab], written
  ChunkStats* stats = nullptr;  // [rows, vocab_chunks(vocab)], written
};
void head_logits(const HeadArgs& args, Isa isa, const Team& team);

}  // namespace grpo::kernels
