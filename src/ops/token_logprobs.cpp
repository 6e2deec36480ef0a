// Logits exist for `rows_per_chunk` targets and kHeadSlab entries of the vocabulary at a time: computed, reduced to
// statistics, and computed again in backward, where they become their own gradient in place.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/linear.h"
#include "kernels/softmax.h"
#include "ops/autograd.h"
#include "ops/checks.h"
#include "ops/head_sizes.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

using kernels::kVocabChunk;
using ops::kHeadSlab;

// What both directions share. Letters: N targets, R rows of a chunk, S entries of a slab.
struct Problem {
  at::Tensor hidden_TD, rows_N, targets_N;
  Parameter* head = nullptr;
  float inv_temperature = 1;
  std::int64_t rows_per_chunk = 0;

  std::int64_t num_targets() const { return targets_N.numel(); }
  std::int64_t width() const { return hidden_TD.size(1); }
  std::int64_t vocab() const { return head->shape[0]; }
  std::int64_t max_rows() const { return std::min(rows_per_chunk, num_targets()); }
  std::int64_t slab_stride() const { return std::min(kHeadSlab, vocab()); }
  const std::int32_t* rows() const { return rows_N.const_data_ptr<std::int32_t>(); }
  const std::int32_t* targets() const { return targets_N.const_data_ptr<std::int32_t>(); }
};

// x_RD[i] = hidden_TD[rows[begin + i]].
void gather_rows(const Problem& p, std::int64_t begin, std::int64_t end, const at::Tensor& x_RD) {
  const auto bytes = static_cast<std::size_t>(p.width()) * p.hidden_TD.element_size();
  const char* from = static_cast<const char*>(p.hidden_TD.const_data_ptr());
  char* to = static_cast<char*>(x_RD.mutable_data_ptr());
  for (std::int64_t n = begin; n < end; ++n, to += bytes) {
    std::memcpy(to, from + static_cast<std::size_t>(p.rows()[n]) * bytes, bytes);
  }
}

// Logits (later their gradients) of a chunk's rows for entries [first, last) of the vocabulary.
struct Slab {
  at::Tensor x_RD;
  std::int64_t rows = 0, first = 0, last = 0;
  float* logits_RS = nullptr;
  kernels::bf16* grads_RS = nullptr;  // the gradients rounded, when the head computes in bf16; else null

  kernels::Type grad_type() const { return grads_RS == nullptr ? kernels::Type::F32 : kernels::Type::BF16; }
  const void* grads() const { return grads_RS == nullptr ? static_cast<const void*>(logits_RS) : grads_RS; }
};

void compute_logits(const Problem& p, const Slab& slab) {
  kernels::linear({.type = ops::kernel_type(slab.x_RD),
                   .x = slab.x_RD.const_data_ptr(),
                   .rows = slab.rows,
                   .in = p.width(),
                   .x_stride = p.width(),
                   .weight = p.head->compute.const_data_ptr(),
                   .out = p.vocab(),
                   .first = slab.first,
                   .last = slab.last,
                   .y_type = kernels::Type::F32,
                   .y = slab.logits_RS,
                   .y_stride = p.slab_stride()},
                  ops::isa(), ops::team());
}

struct Forward {
  std::vector<kernels::RowStats> stats_N;
  at::Tensor logprobs_N;
};

Forward run_forward(const Problem& p) {
  const std::int64_t num_targets = p.num_targets(), max_rows = p.max_rows();
  const std::int64_t num_chunks = (p.vocab() + kVocabChunk - 1) / kVocabChunk;
  const at::Tensor x_RD = ops::pooled({max_rows, p.width()}, p.hidden_TD.scalar_type());
  const at::Tensor logits_RS = ops::pooled({max_rows, p.slab_stride()}, at::kFloat);
  float* logits = logits_RS.mutable_data_ptr<float>();
  std::vector<kernels::ChunkStats> chunks(static_cast<std::size_t>(max_rows * num_chunks));
  std::vector<float> target_logits(static_cast<std::size_t>(max_rows));
  Forward result{{}, ops::pooled({num_targets}, at::kFloat)};
  result.stats_N.reserve(static_cast<std::size_t>(num_targets));
  float* logprobs = result.logprobs_N.mutable_data_ptr<float>();

  for (std::int64_t begin = 0; begin < num_targets; begin += max_rows) {
    const std::int64_t rows = std::min(max_rows, num_targets - begin);
    const std::int32_t* targets = p.targets() + begin;
    gather_rows(p, begin, begin + rows, x_RD);
    for (std::int64_t first = 0; first < p.vocab(); first += kHeadSlab) {
      const std::int64_t last = std::min(first + kHeadSlab, p.vocab());
      compute_logits(p, {x_RD, rows, first, last, logits, nullptr});
      kernels::chunk_stats(logits, rows, last - first, p.slab_stride(), p.inv_temperature,
                           chunks.data() + first / kVocabChunk, num_chunks, ops::isa(), ops::team());
      for (std::int64_t r = 0; r < rows; ++r) {
        if (targets[r] < first || targets[r] >= last) continue;
        target_logits[static_cast<std::size_t>(r)] = logits[r * p.slab_stride() + targets[r] - first];
      }
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const kernels::RowStats row = kernels::merge_stats(chunks.data() + r * num_chunks, num_chunks);
      logprobs[begin + r] = kernels::logprob(target_logits[static_cast<std::size_t>(r)], p.inv_temperature, row);
      result.stats_N.push_back(row);
    }
  }
  return result;
}

void add_input_grad(const Problem& p, const Slab& slab, float* dx_RD) {
  kernels::linear_input_grad({.dy_type = slab.grad_type(),
                              .dy = slab.grads(),
                              .rows = slab.rows,
                              .dy_stride = p.slab_stride(),
                              .weight_type = ops::kernel_type(p.head->dtype),
                              .weight = p.head->compute.const_data_ptr(),
                              .out = p.vocab(),
                              .in = p.width(),
                              .first = slab.first,
                              .last = slab.last,
                              .accumulate = slab.first > 0,
                              .dx_type = kernels::Type::F32,
                              .dx = dx_RD,
                              .dx_stride = p.width()},
                             ops::isa(), ops::team());
}

void add_weight_grad(const Problem& p, const Slab& slab) {
  const kernels::Type type = ops::kernel_type(p.head->dtype);
  kernels::linear_weight_grad({.dy_type = slab.grad_type(),
                               .dy = slab.grads(),
                               .rows = slab.rows,
                               .dy_stride = p.slab_stride(),
                               .x_type = type,
                               .x = slab.x_RD.const_data_ptr(),
                               .x_stride = p.width(),
                               .order = type,
                               .grad = ops::grad_data(*p.head),
                               .out = p.vocab(),
                               .in = p.width(),
                               .first = slab.first,
                               .last = slab.last},
                              ops::isa(), ops::team());
}

// dhidden_TD[rows[begin + i]] += dx_RD[i], in order of the targets.
void scatter_rows(const Problem& p, std::int64_t begin, std::int64_t end, const float* dx_RD, float* dhidden_TD) {
  for (std::int64_t n = begin; n < end; ++n, dx_RD += p.width()) {
    float* to = dhidden_TD + p.rows()[n] * p.width();
    for (std::int64_t d = 0; d < p.width(); ++d) to[d] += dx_RD[d];
  }
}

// What reaches the outputs; `entropy_N` is null when the entropy was not used.
struct OutputGrads {
  const float* logprobs_N = nullptr;
  const float* entropy_N = nullptr;
};

// d(loss)/d(hidden) (undefined when nobody wants it); the weight's gradient is added to the head.
at::Tensor run_backward(const Problem& p, const std::vector<kernels::RowStats>& stats_N, const OutputGrads& grads) {
  const bool dhidden_wanted = p.hidden_TD.requires_grad();
  const std::int64_t num_targets = p.num_targets(), max_rows = p.max_rows();
  const at::Tensor x_RD = ops::pooled({max_rows, p.width()}, p.hidden_TD.scalar_type());
  const at::Tensor logits_RS = ops::pooled({max_rows, p.slab_stride()}, at::kFloat);
  const at::Tensor dx_RD = ops::pooled({max_rows, p.width()}, at::kFloat);
  const at::Tensor dhidden_TD = dhidden_wanted ? ops::pooled(p.hidden_TD.sizes(), at::kFloat).zero_() : at::Tensor();
  const bool in_bf16 = p.head->dtype == DType::BFloat16;
  const at::Tensor grads_RS = in_bf16 ? ops::pooled({max_rows, p.slab_stride()}, at::kBFloat16) : at::Tensor();
  float* logits = logits_RS.mutable_data_ptr<float>();
  auto* grads_bf16 = in_bf16 ? static_cast<kernels::bf16*>(grads_RS.mutable_data_ptr()) : nullptr;
  float* dx = dx_RD.mutable_data_ptr<float>();

  for (std::int64_t begin = 0; begin < num_targets; begin += max_rows) {
    const std::int64_t rows = std::min(max_rows, num_targets - begin);
    gather_rows(p, begin, begin + rows, x_RD);
    for (std::int64_t first = 0; first < p.vocab(); first += kHeadSlab) {
      const std::int64_t last = std::min(first + kHeadSlab, p.vocab());
      const Slab slab{x_RD, rows, first, last, logits, grads_bf16};
      compute_logits(p, slab);
      kernels::softmax_grad({.logits = logits,
                             .rows = rows,
                             .n = last - first,
                             .stride = p.slab_stride(),
                             .first = first,
                             .inv_temperature = p.inv_temperature,
                             .targets = p.targets() + begin,
                             .stats = stats_N.data() + begin,
                             .grad_logprob = grads.logprobs_N + begin,
                             .grad_entropy = grads.entropy_N == nullptr ? nullptr : grads.entropy_N + begin},
                            ops::isa(), ops::team());
      if (in_bf16) kernels::round_to_bf16(logits, grads_bf16, rows * p.slab_stride(), ops::team());
      if (dhidden_wanted) add_input_grad(p, slab, dx);
      if (p.head->trainable) add_weight_grad(p, slab);
    }
    if (dhidden_wanted) scatter_rows(p, begin, begin + rows, dx, dhidden_TD.mutable_data_ptr<float>());
  }
  return dhidden_wanted ? dhidden_TD.to(p.hidden_TD.scalar_type()) : at::Tensor();
}

}  // namespace

TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& rows, const at::Tensor& targets,
                             Parameter& head, const TokenLogprobsOptions& options) {
  constexpr const char* kOp = "token_logprobs";
  const float inv_temperature = kernels::inverse_temperature(options.temperature);
  GRPO_CHECK(inv_temperature > 0 && std::isfinite(inv_temperature),
             "[token_logprobs] temperature: expected more than 0, got " + std::to_string(options.temperature));
  GRPO_CHECK(options.rows_per_chunk > 0,
             "[token_logprobs] rows_per_chunk: expected 1 or more, got " + std::to_string(options.rows_per_chunk));
  Problem problem;
  problem.hidden_TD = ops::activations(kOp, "hidden", hidden, ops::kAny, ops::kAny);
  ops::check_matrix(kOp, head, ops::kAny, problem.hidden_TD.size(1), problem.hidden_TD);
  problem.rows_N = ops::indices(kOp, "rows", rows, ops::kAny, problem.hidden_TD.size(0));
  problem.targets_N = ops::indices(kOp, "targets", targets, problem.rows_N.numel(), head.shape[0]);
  problem.head = &head;
  problem.inv_temperature = inv_temperature;
  problem.rows_per_chunk = options.rows_per_chunk;

  Forward forward = run_forward(problem);
  TokenLogprobs result{forward.logprobs_N, {}};
  ops::Tensors outputs{result.logprobs};
  if (options.entropy) {
    result.entropy = ops::pooled({problem.num_targets()}, result.logprobs.scalar_type());
    float* entropy = result.entropy.mutable_data_ptr<float>();
    for (const kernels::RowStats& row : forward.stats_N) *entropy++ = static_cast<float>(row.entropy);
    outputs.push_back(result.entropy);
  }
  if (!ops::wants_grad({problem.hidden_TD}, {&head})) return result;
  const auto stats = std::make_shared<const std::vector<kernels::RowStats>>(std::move(forward.stats_N));
  ops::record(kOp, {problem.hidden_TD}, outputs, [problem, stats](const ops::Tensors& grads) -> ops::Tensors {
    const bool entropy_used = grads.size() > 1 && grads[1].defined();
    if (!grads[0].defined() && !entropy_used) return {at::Tensor()};
    const at::Tensor dlogprobs_N =
        grads[0].defined() ? grads[0].contiguous() : problem.hidden_TD.new_zeros({problem.num_targets()}, at::kFloat);
    const at::Tensor dentropy_N = entropy_used ? grads[1].contiguous() : at::Tensor();
    return {run_backward(
        problem, *stats,
        {dlogprobs_N.const_data_ptr<float>(), entropy_used ? dentropy_N.const_data_ptr<float>() : nullptr})};
  });
  return result;
}

at::Tensor logits(const at::Tensor& hidden, const Parameter& head) {
  const at::Tensor hidden_TD = ops::activations("logits", "hidden", hidden, ops::kAny, ops::kAny);
  ops::check_matrix("logits", head, ops::kAny, hidden_TD.size(1), hidden_TD);
  GRPO_CHECK(
      !ops::wants_grad({hidden_TD}),
      "[logits] hidden: expected no gradient (use at::NoGradGuard, or token_logprobs), got one that requires grad");
  const std::int64_t vocab = head.shape[0];
  const at::Tensor logits_TV = ops::pooled({hidden_TD.size(0), vocab}, at::kFloat);
  kernels::linear({.type = ops::kernel_type(hidden_TD),
                   .x = hidden_TD.const_data_ptr(),
                   .rows = hidden_TD.size(0),
                   .in = hidden_TD.size(1),
                   .x_stride = hidden_TD.size(1),
                   .weight = head.compute.const_data_ptr(),
                   .out = vocab,
                   .first = 0,
                   .last = vocab,
                   .y_type = kernels::Type::F32,
                   .y = logits_TV.mutable_data_ptr(),
                   .y_stride = vocab},
                  ops::isa(), ops::team());
  return logits_TV;
}

}  // namespace grpo::inline GRPO_ABI
