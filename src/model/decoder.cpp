#include "model/decoder.h"

#include <memory>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "ops/decode.h"
#include "ops/linear.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Specs in the order of Hugging Face's modules.
class SpecList {
 public:
  void matrix(const std::string& name, const std::string& gguf, std::int64_t out, std::int64_t in, bool bias = false,
              std::int64_t paired_heads = 0) {
    specs.push_back({name + ".weight", gguf + ".weight", {out, in}, WeightInit::Normal, paired_heads});
    if (bias) specs.push_back({name + ".bias", gguf + ".bias", {out}, WeightInit::Zero, paired_heads});
  }
  void norm(const std::string& name, const std::string& gguf, std::int64_t width) {
    specs.push_back({name + ".weight", gguf + ".weight", {width}, WeightInit::One});
  }

  std::vector<WeightSpec> specs;
};

using Layer = ops::DecoderLayer;
using ops::Projection;

at::Tensor apply(const Projection& projection, const at::Tensor& x) {
  return linear(x, *projection.weight, projection.bias);
}

// What is cheap to compute again: backward does so, once for all products with it, instead of keeping it.
struct Remade {
  at::Tensor value;
  ops::Again again;
};
Remade remade(const ops::Again& make) { return {make(), ops::once(make)}; }
at::Tensor apply(const Projection& projection, const Remade& x) {
  return ops::linear(x.value, x.again, *projection.weight, projection.bias);
}

// Hands out parameters in the order of decoder_weights().
class ParameterOrder {
 public:
  ParameterOrder(std::span<Parameter* const> all, const DecoderParts& parts) : all_(all), parts_(parts) {}

  Parameter* next() { return all_[next_++]; }
  Parameter* next_if(bool exists) { return exists ? next() : nullptr; }
  Projection projection(bool bias) {
    Parameter* weight = next();
    return {weight, next_if(bias)};
  }
  Layer layer() {  // a braced list is evaluated in order
    const auto& p = parts_;
    return {.q = projection(p.qkv_bias),
            .k = projection(p.qkv_bias),
            .v = projection(p.qkv_bias),
            .o = projection(p.output_bias),
            .q_norm = next_if(p.head_norms),
            .k_norm = next_if(p.head_norms),
            .gate = projection(p.mlp_bias),
            .up = projection(p.mlp_bias),
            .down = projection(p.mlp_bias),
            .attention_norm = next(),
            .mlp_norm = next()};
  }

 private:
  std::span<Parameter* const> all_;
  const DecoderParts& parts_;
  std::size_t next_ = 0;
};

// x [T, heads * E], each head by itself.
at::Tensor norm_heads(const at::Tensor& x, Parameter& weight, double eps) {
  return rms_norm(x.view({-1, weight.shape[0]}), weight, eps).view(x.sizes());
}

// x [T, D] -> [T, D].
at::Tensor layer_forward(const Layer& layer, at::Tensor x, const ForwardInput& in) {
  const ModelConfig& c = in.config;
  const auto norm = [&c](const at::Tensor& from, Parameter* weight) {
    return remade([=, eps = c.norm_eps] { return rms_norm(from, *weight, eps); });
  };
  Remade h = norm(x, layer.attention_norm);
  at::Tensor q = apply(layer.q, h), k = apply(layer.k, h);
  if (layer.q_norm) {
    q = norm_heads(q, *layer.q_norm, c.norm_eps);
    k = norm_heads(k, *layer.k_norm, c.norm_eps);
  }
  q = rope(q, c.num_heads, in.positions, in.rope_table);
  k = rope(k, c.num_kv_heads, in.positions, in.rope_table);
  x = add(x, apply(layer.o, in.attend(q, k, apply(layer.v, h))));

  h = norm(x, layer.mlp_norm);
  const at::Tensor gate = apply(layer.gate, h), up = apply(layer.up, h);
  return add(x, apply(layer.down, remade([=] { return swiglu(gate, up); })));
}

// x as it is; `done(layer)` runs in backward once everything that read x has had its gradient.
at::Tensor mark_layer(const at::Tensor& x, const std::function<void(std::int64_t)>& done, std::int64_t layer) {
  if (!done || !x.requires_grad() || !at::GradMode::is_enabled()) return x;
  const at::Tensor same = x.detach();
  record_backward("layer", {x}, {same}, [done, layer](const std::vector<at::Tensor>& grads) {
    done(layer);
    return grads;
  });
  return same;
}

}  // namespace

std::vector<WeightSpec> decoder_weights(const ModelConfig& c, const DecoderParts& parts) {
  const std::int64_t width = c.hidden_size, query = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  const std::int64_t paired_query = parts.gguf_pairs ? c.num_heads : 0,
                     paired_kv = parts.gguf_pairs ? c.num_kv_heads : 0;
  SpecList list;
  list.matrix("model.embed_tokens", "token_embd", c.vocab_size, width);
  for (std::int64_t i = 0; i < c.num_layers; ++i) {
    const std::string hf = fmt::format("model.layers.{}.", i), gguf = fmt::format("blk.{}.", i);
    list.matrix(hf + "self_attn.q_proj", gguf + "attn_q", query, width, parts.qkv_bias, paired_query);
    list.matrix(hf + "self_attn.k_proj", gguf + "attn_k", kv, width, parts.qkv_bias, paired_kv);
    list.matrix(hf + "self_attn.v_proj", gguf + "attn_v", kv, width, parts.qkv_bias);
    list.matrix(hf + "self_attn.o_proj", gguf + "attn_output", width, query, parts.output_bias);
    if (parts.head_norms) {
      list.norm(hf + "self_attn.q_norm", gguf + "attn_q_norm", c.head_dim);
      list.norm(hf + "self_attn.k_norm", gguf + "attn_k_norm", c.head_dim);
    }
    list.matrix(hf + "mlp.gate_proj", gguf + "ffn_gate", c.intermediate_size, width, parts.mlp_bias);
    list.matrix(hf + "mlp.up_proj", gguf + "ffn_up", c.intermediate_size, width, parts.mlp_bias);
    list.matrix(hf + "mlp.down_proj", gguf + "ffn_down", width, c.intermediate_size, parts.mlp_bias);
    list.norm(hf + "input_layernorm", gguf + "attn_norm", width);
    list.norm(hf + "post_attention_layernorm", gguf + "ffn_norm", width);
  }
  list.norm("model.norm", "output_norm", width);
  if (!c.tie_embeddings) list.matrix("lm_head", "output", c.vocab_size, width);
  return std::move(list.specs);
}

at::Tensor decoder_forward(const ForwardInput& in, const DecoderParts& parts) {
  ParameterOrder parameters(in.parameters, parts);
  at::Tensor x = embedding(*parameters.next(), in.ids);
  std::vector<Layer> layers;
  for (std::int64_t i = 0; i < in.config.num_layers; ++i) layers.push_back(parameters.layer());
  Parameter& last_norm = *parameters.next();
  if (in.attend.cache) {
    x = ops::decoder_layers(x, layers, in.positions, in.rope_table, in.config.norm_eps, *in.attend.cache);
    return rms_norm(x, last_norm, in.config.norm_eps);
  }
  const bool recompute = in.recompute && at::GradMode::is_enabled();
  const auto kept = recompute ? std::make_shared<const ForwardInput>(in) : nullptr;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    x = mark_layer(x, in.layer_done, static_cast<std::int64_t>(i));
    x = kept ? recomputed(x, [=, layer = layers[i]](const at::Tensor& h) { return layer_forward(layer, h, *kept); })
             : layer_forward(layers[i], std::move(x), in);
  }
  return rms_norm(x, last_norm, in.config.norm_eps);
}

}  // namespace grpo::inline GRPO_ABI
