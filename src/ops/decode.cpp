#include "ops/decode.h"

#include "kernels/decoder.h"
#include "ops/checks.h"
#include "ops/draw.h"
#include "ops/pool.h"
#include "ops/threads.h"

namespace grpo::ops {
namespace {

constexpr const char* kOp = "decoder_layers";

kernels::DecoderWeight checked(const Projection& projection, std::int64_t out, std::int64_t in, const at::Tensor& x) {
  check_matrix(kOp, *projection.weight, out, in, x);
  if (projection.bias != nullptr) check_vector(kOp, *projection.bias, out);
  return {projection.weight->compute.const_data_ptr(),
          projection.bias == nullptr ? nullptr : projection.bias->compute.const_data_ptr<float>()};
}

const float* checked(const Parameter* norm, std::int64_t n) {
  if (norm == nullptr) return nullptr;
  check_vector(kOp, *norm, n);
  return norm->compute.const_data_ptr<float>();
}

}  // namespace

at::Tensor decoder_layers(const at::Tensor& x, const std::vector<DecoderLayer>& layers, const at::Tensor& positions,
                          const at::Tensor& table, double eps, const DecoderCache& cache) {
  const at::Tensor x_TD = activations(kOp, "x", x, kAny, kAny).clone();
  const std::int64_t rows = x_TD.size(0), width = x_TD.size(1), head = cache.heads.size;
  const std::int64_t query = cache.heads.query * head, kv = cache.heads.kv * head;
  const std::int64_t intermediate = layers.empty() ? 0 : layers.front().gate.weight->shape[0];
  const at::Tensor positions_T = indices(kOp, "positions", positions, rows, table.size(0));
  GRPO_CHECK(cache.stores->size() == layers.size(), "[decoder_layers] stores: expected one for each layer");

  std::vector<kernels::DecoderLayer> kernel_layers;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const DecoderLayer& layer = layers[i];
    kernel_layers.push_back({.q = checked(layer.q, query, width, x_TD),
                             .k = checked(layer.k, kv, width, x_TD),
                             .v = checked(layer.v, kv, width, x_TD),
                             .o = checked(layer.o, width, query, x_TD),
                             .gate = checked(layer.gate, intermediate, width, x_TD),
                             .up = checked(layer.up, intermediate, width, x_TD),
                             .down = checked(layer.down, width, intermediate, x_TD),
                             .q_norm = checked(layer.q_norm, head),
                             .k_norm = checked(layer.k_norm, head),
                             .attention_norm = checked(layer.attention_norm, width),
                             .mlp_norm = checked(layer.mlp_norm, width),
                             .store = (*cache.stores)[i].mutable_data_ptr()});
  }
  std::vector<kernels::AttentionSequence> sequences;
  for (const CachedSequence& s : cache.sequences)
    sequences.push_back({.row_begin = s.begin, .row_end = s.end, .start = s.start, .blocks = s.blocks});
  kernels::DecoderArgs args{
      .shape = {kernel_type(x_TD), cache.heads.query, cache.heads.kv, head, static_cast<float>(cache.heads.scale)},
      .width = width,
      .intermediate = intermediate,
      .eps = static_cast<float>(eps),
      .layers = kernel_layers.data(),
      .num_layers = static_cast<std::int64_t>(layers.size()),
      .x = x_TD.mutable_data_ptr(),
      .rows = rows,
      .positions = positions_T.const_data_ptr<std::int32_t>(),
      .rope_table = table.const_data_ptr<float>(),
      .sequences = sequences.data(),
      .num_sequences = static_cast<std::int64_t>(sequences.size())};
  const std::int64_t bytes = kernels::decoder_scratch(args, team());
  if (!cache.scratch->defined() || cache.scratch->numel() < bytes) *cache.scratch = pooled({bytes}, at::kByte);
  args.scratch = cache.scratch->mutable_data_ptr();
  kernels::decoder_layers(args, isa(), team());
  return x_TD;
}

std::vector<SampledToken> draw_next(const at::Tensor& hidden, const Parameter& head,
                                    const std::vector<double>& uniforms, const SampleOptions& options,
                                    at::Tensor& logits) {
  const kernels::DrawOptions draw = checked_draw(options, uniforms);
  const at::Tensor hidden_ND =
      activations("draw_next", "hidden", hidden, static_cast<std::int64_t>(uniforms.size()), kAny);
  check_matrix("draw_next", head, kAny, hidden_ND.size(1), hidden_ND);
  const std::int64_t rows = hidden_ND.size(0), vocab = head.shape[0];
  if (!logits.defined() || logits.numel() < rows * vocab) logits = pooled({rows * vocab}, at::kFloat);
  std::vector<kernels::ChunkStats> stats(static_cast<std::size_t>(rows * kernels::vocab_chunks(vocab)));
  const kernels::HeadArgs args{.type = kernel_type(hidden_ND),
                               .hidden = hidden_ND.const_data_ptr(),
                               .rows = rows,
                               .width = hidden_ND.size(1),
                               .weight = head.compute.const_data_ptr(),
                               .vocab = vocab,
                               .inv_temperature = kernels::draw_scale(draw),
                               .logits = logits.mutable_data_ptr<float>(),
                               .stats = stats.data()};
  kernels::head_logits(args, isa(), team());
  return draw_rows(args.logits, stats.data(), rows, vocab, draw, uniforms);
}

}  // namespace grpo::ops
