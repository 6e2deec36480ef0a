// Differentiable operations over our own parameters. Free functions: each validates, calls one kernel in kernels/, and
// carries its own backward.
//
// A Parameter stands beside the autograd graph: a linear's weight gradient is added in fp32 to Parameter::grad during
// backward, never returned as a tensor. The graph points to the Parameter, which must outlive it. Activations are
// contiguous, fp32 or bf16 (the model's compute type). Shape letters: T rows (tokens), D model width, F feed-forward
// width, H query heads, K kv heads, E head size, V vocabulary, N targets. Every forward is batch-invariant: a row's
// bits do not depend on the other rows or on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <grpo/config.h>
#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

// ---- parameters ---------------------------------------------------------------------------------------------------

enum class ParameterLayout { Panels, Vector };  // Panels: matrices in packed order (kernels/linear.h); Vector: 1-D

// One weight. All fp32 tensors share the packed order, so AdamW runs on flat arrays. `compute` is what kernels read:
// the master itself in fp32 (same storage), a packed bf16 copy in bf16 (vectors stay fp32).
struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;  // logical: [out, in] or [n]
  ParameterLayout layout = ParameterLayout::Vector;
  DType dtype = DType::Float32;  // compute type of the model
  bool trainable = false;
  at::Tensor master;   // fp32 [elements]
  at::Tensor compute;  // as above
  at::Tensor grad;     // fp32 [elements], made by a backward; undefined: zero

  std::int64_t elements() const { return master.numel(); }  // with padding
};

// Elements with padding that a parameter of this shape has.
GRPO_API std::int64_t parameter_elements(const std::vector<std::int64_t>& shape, DType dtype);
GRPO_API Parameter make_parameter(std::string name, std::vector<std::int64_t> shape, DType dtype, bool trainable);
// Logical row-major fp32 values in and out. set_values refreshes `compute`.
GRPO_API void set_values(Parameter& parameter, const at::Tensor& values);
GRPO_API at::Tensor get_values(const Parameter& parameter);
GRPO_API at::Tensor get_grad(const Parameter& parameter);
// Any flat tensor in a parameter's packed order (a moment) to logical shape, and back.
GRPO_API at::Tensor unpack_like(const Parameter& parameter, const at::Tensor& flat);
GRPO_API at::Tensor pack_like(const Parameter& parameter, const at::Tensor& logical);
// master changed: make `compute` follow it.
GRPO_API void refresh_compute(Parameter& parameter);

// ---- operations -----------------------------------------------------------------------------------------------------

// ids int32 [T] -> [T, D]. Starts the graph when the weight is trainable and grad mode is on.
GRPO_API at::Tensor embedding(Parameter& weight, const at::Tensor& ids);
// x [T, in] -> [T, out].
GRPO_API at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias = nullptr);
// x [T, D].
GRPO_API at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps);
// x [T, heads * E]; positions int32 [T]; table fp32 [max_positions, E/2, 2] of (cos, sin).
GRPO_API at::Tensor rope(const at::Tensor& x, std::int64_t heads, const at::Tensor& positions, const at::Tensor& table);
GRPO_API at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
GRPO_API at::Tensor add(const at::Tensor& a, const at::Tensor& b);

// Rows [begin, end) of a packed batch are one sequence. `prefix` is the index of an earlier sequence (itself without a
// prefix) that this one continues, or -1: its rows then stand at positions after the prefix's and attend to it.
// Sequences cover the rows in order: the first begins at 0, each next where the one before ends, the last ends at T.
struct PackedSequence {
  std::int64_t begin = 0, end = 0;
  std::int32_t prefix = -1;
};

struct AttentionHeads {
  std::int64_t query = 0, kv = 0, size = 0;
  double scale = 0;
};
// Training: q [T, H*E], k and v [T, K*E] -> [T, H*E].
GRPO_API at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const std::vector<PackedSequence>& sequences, const AttentionHeads& heads);

// A cache's store is a flat tensor of blocks (kernels/attention.h) in the activations' type, kKvBlock positions each.
inline constexpr std::int64_t kKvBlock = 32;
GRPO_API std::int64_t kv_block_elements(const AttentionHeads& heads);
// Copies positions [0, count) of block `from` to block `to`.
GRPO_API void copy_kv_block(at::Tensor& store, const AttentionHeads& heads, std::int32_t from, std::int32_t to,
                            std::int64_t count);

// With a cache: block tables per sequence, one store per layer (kernels/attention.h). No gradient.
struct CachedSequence {
  std::int64_t begin = 0, end = 0, start = 0;  // rows, and the position of the first
  const std::int32_t* blocks = nullptr;        // of positions [0, start + end - begin)
};
GRPO_API at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const std::vector<CachedSequence>& sequences, const AttentionHeads& heads,
                                     at::Tensor& store);

struct TokenLogprobs {
  at::Tensor logprobs;  // fp32 [N], of `targets` under softmax(logits / temperature)
  at::Tensor entropy;   // fp32 [N] or undefined
};
struct TokenLogprobsOptions {
  double temperature = 1.0;
  bool entropy = false;
  std::int64_t rows_per_chunk = 256;
};
// Head, log-softmax and gather as one chunked operation, forward and backward; logits are never stored for the batch.
// hidden [T, D]; rows int32 [N]: which hidden row predicts target n (a prompt's last row may serve many);
// targets int32 [N]; head [V, D] (the embedding itself when tied).
GRPO_API TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& rows, const at::Tensor& targets,
                                      Parameter& head, const TokenLogprobsOptions& options = {});
// fp32 logits [n, V] of given hidden rows; no gradient. The sampler's head.
GRPO_API at::Tensor logits(const at::Tensor& hidden, const Parameter& head);

// ---- sampling and optimiser -----------------------------------------------------------------------------------------

struct SampleOptions {
  double temperature = 1.0;
  std::int32_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
};
struct SampledToken {
  std::int32_t token = 0;
  float logprob = 0;
};
// One draw per row of fp32 logits [n, V]; uniforms [n] in [0, 1). Throws Error(Guard) on NaN logits.
GRPO_API std::vector<SampledToken> sample(const at::Tensor& logits, const std::vector<double>& uniforms,
                                          const SampleOptions& options);

struct AdamWStep {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0;
  double grad_scale = 1;
  std::int64_t step = 1;
};
// Updates master, moments (fp32, packed order) and compute; zeroes grad.
GRPO_API void adamw(Parameter& parameter, at::Tensor& moment1, at::Tensor& moment2, const AdamWStep& step);
// The same for elements [begin, begin + n) only, from their gradient and moments, fp32 [n]; leaves grad as it is.
GRPO_API void adamw_piece(Parameter& parameter, std::int64_t begin, const at::Tensor& grad, at::Tensor& moment1,
                          at::Tensor& moment2, const AdamWStep& step);
// Sum of squares of the gradient of elements [begin, begin + n), in double, in a fixed order. Throws Error(Guard)
// naming the parameter and the place of the first non-finite value.
GRPO_API double squared_norm(const Parameter& parameter, std::int64_t begin, const at::Tensor& grad);
// sqrt of the sum over all parameters.
GRPO_API double grad_norm(const std::vector<Parameter*>& parameters);

// Threads of LibTorch's pool that kernels use; 0: all that the process may run on.
GRPO_API void set_threads(int threads);
GRPO_API int num_threads();
// The instruction set of every kernel: the best that the CPU runs, once per process. Tests may force "scalar", "avx2",
// "avx512", "avx512bf16" or "amx"; "" is the best again.
GRPO_API std::string isa_name();
GRPO_API void force_isa(const std::string& isa);

// Records `backward` as the gradient of `outputs` with respect to `inputs`, for operations of your own: outputs that
// were computed outside the graph (no grad) join it when grad mode is on and an input requires grad. `backward` gets
// one gradient per output (undefined: zero) and returns one per input (undefined: none). See docs/extending.md.
GRPO_API void record_backward(const std::string& name, const std::vector<at::Tensor>& inputs,
                              const std::vector<at::Tensor>& outputs,
                              std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> backward);

// f(x), of which backward keeps x alone: it computes f again, with a graph, and goes through that (Chen et al. 2016).
// `f` gives the same bits each time and outlives the graph; parameters get their gradients once.
GRPO_API at::Tensor recomputed(const at::Tensor& x, std::function<at::Tensor(const at::Tensor& x)> f);

}  // namespace grpo::inline GRPO_ABI
