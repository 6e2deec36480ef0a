#include "model/llama.h"

#include <fmt/format.h>

namespace grpo {
namespace {

void check_config(const Json& json) {
  require_setting(json, "hidden_act", "silu");
  require_setting(json, "attention_bias", false);
  require_setting(json, "mlp_bias", false);
}

std::vector<WeightSpec> weights(const ModelConfig& c) {
  const std::int64_t width = c.hidden_size, query = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  std::vector<WeightSpec> specs;
  const auto matrix = [&specs](std::string name, std::string gguf, std::int64_t out, std::int64_t in,
                               std::int64_t heads = 0) {
    specs.push_back({std::move(name), std::move(gguf), {out, in}, WeightInit::Normal, heads});
  };
  const auto norm = [&specs, width](std::string name, std::string gguf) {
    specs.push_back({std::move(name), std::move(gguf), {width}, WeightInit::One});
  };
  matrix(std::string(kEmbeddingName), "token_embd.weight", c.vocab_size, width);
  for (std::int64_t i = 0; i < c.num_layers; ++i) {
    const std::string hf = fmt::format("model.layers.{}.", i), gguf = fmt::format("blk.{}.", i);
    matrix(hf + "self_attn.q_proj.weight", gguf + "attn_q.weight", query, width, c.num_heads);
    matrix(hf + "self_attn.k_proj.weight", gguf + "attn_k.weight", kv, width, c.num_kv_heads);
    matrix(hf + "self_attn.v_proj.weight", gguf + "attn_v.weight", kv, width);
    matrix(hf + "self_attn.o_proj.weight", gguf + "attn_output.weight", width, query);
    matrix(hf + "mlp.gate_proj.weight", gguf + "ffn_gate.weight", c.intermediate_size, width);
    matrix(hf + "mlp.up_proj.weight", gguf + "ffn_up.weight", c.intermediate_size, width);
    matrix(hf + "mlp.down_proj.weight", gguf + "ffn_down.weight", width, c.intermediate_size);
    norm(hf + "input_layernorm.weight", gguf + "attn_norm.weight");
    norm(hf + "post_attention_layernorm.weight", gguf + "ffn_norm.weight");
  }
  norm("model.norm.weight", "output_norm.weight");
  if (!c.tie_embeddings) matrix(std::string(kHeadName), "output.weight", c.vocab_size, width);
  return specs;
}

// A layer's parameters, in the order of weights().
struct Layer {
  Parameter &q, &k, &v, &o, &gate, &up, &down, &attention_norm, &mlp_norm;
};
constexpr std::size_t kLayerParameters = 9;

Layer layer_at(std::span<Parameter* const> all, std::size_t index) {
  const auto p = all.subspan(1 + index * kLayerParameters, kLayerParameters);
  return {*p[0], *p[1], *p[2], *p[3], *p[4], *p[5], *p[6], *p[7], *p[8]};
}

at::Tensor forward(const ForwardInput& in) {
  const ModelConfig& c = in.config;
  const auto num_layers = static_cast<std::size_t>(c.num_layers);
  at::Tensor x = embedding(*in.parameters[0], in.ids);
  for (std::size_t i = 0; i < num_layers; ++i) {
    const Layer layer = layer_at(in.parameters, i);
    at::Tensor h = rms_norm(x, layer.attention_norm, c.norm_eps);
    const at::Tensor q = rope(linear(h, layer.q), c.num_heads, in.positions, in.rope_table);
    const at::Tensor k = rope(linear(h, layer.k), c.num_kv_heads, in.positions, in.rope_table);
    const at::Tensor v = linear(h, layer.v);
    x = add(x, linear(in.attend(i, q, k, v), layer.o));

    h = rms_norm(x, layer.mlp_norm, c.norm_eps);
    x = add(x, linear(swiglu(linear(h, layer.gate), linear(h, layer.up)), layer.down));
  }
  return rms_norm(x, *in.parameters[1 + num_layers * kLayerParameters], c.norm_eps);
}

}  // namespace

Family llama_family() {
  return {.model_type = "llama",
          .architecture = "LlamaForCausalLM",
          .gguf_architecture = "llama",
          .check_config = check_config,
          .weights = weights,
          .forward = forward};
}

}  // namespace grpo
