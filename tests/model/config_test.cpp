// ModelConfig from config.json.
#include <gtest/gtest.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

Json config(const char* more = "") {
  return parse_json(std::string(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100,
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4)") +
                        more + "}",
                    {.source = "config.json"});
}

TEST(ModelConfig, DefaultsAreHuggingFaces) {
  const ModelConfig c = parse_model_config(config());
  EXPECT_EQ(c.family, "llama");
  EXPECT_EQ(c.num_kv_heads, 4);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.max_positions, 2048);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_FALSE(c.tie_embeddings);
  EXPECT_TRUE(c.eos_ids.empty());
  EXPECT_FALSE(c.bos_id.has_value());
}

TEST(ModelConfig, ReadsEverySpelling) {
  const ModelConfig c = parse_model_config(
      config(R"(, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
    "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}, "rope_scaling": null, "tie_word_embeddings": true,
    "eos_token_id": [2, 7], "bos_token_id": 1, "pad_token_id": -1, "torch_dtype": "bfloat16", "use_cache": true,
    "attention_dropout": 0.0, "mlp_bias": false, "hidden_act": "silu", "unheard_of": 1)"));
  EXPECT_EQ(c.num_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 32);
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_EQ(c.rope_theta, 500000);
  EXPECT_TRUE(c.tie_embeddings);
  EXPECT_EQ(c.eos_ids, (std::vector<std::int32_t>{2, 7}));
  EXPECT_EQ(c.bos_id, 1);
  EXPECT_FALSE(c.pad_id.has_value());
  EXPECT_EQ(parse_model_config(config(R"(, "rope_theta": 1e5, "eos_token_id": 3)")).rope_theta, 1e5);
  EXPECT_EQ(parse_model_config(config(R"(, "rope_theta": 1e5, "eos_token_id": 3)")).eos_ids,
            std::vector<std::int32_t>{3});
}

TEST(ModelConfig, RefusesByName) {
  const auto says = [](const char* more) { return error_text([&] { parse_model_config(config(more)); }); };
  EXPECT_EQ(says(R"(, "rope_scaling": {"rope_type": "dynamic", "factor": 8.0})"),
            "config.json:2:129: rope_scaling.rope_type: expected one of default, linear, llama3, yarn (nothing else is "
            "supported), got \"dynamic\"");
  const std::pair<const char*, const char*> cases[] = {
      {R"(, "rope_scaling": {"type": "longrope", "factor": 2})", "rope_scaling.type: expected one of default, linear"},
      {R"(, "rope_parameters": {"rope_type": 3})", "rope_parameters.rope_type: expected one of default, linear"},
      {R"(, "rope_scaling": {"type": "linear"})", "factor: expected a positive number, got null"},
      {R"(, "rope_scaling": {"type": "linear", "factor": 0.5})",
       "rope_scaling.factor: expected a factor of at least 1"},
      {R"(, "rope_scaling": {"type": "linear", "factor": 2, "beta_fast": 3})",
       "rope_scaling.beta_fast: expected no such setting with type linear, got 3"},
      {R"(, "rope_parameters": {"full_attention": {"rope_type": "default"}})",
       "rope_parameters.full_attention: expected no such setting with type default"},
      {R"(, "rope_scaling": {"type": "yarn", "factor": 2, "truncate": false})", "truncate: expected true"},
      {R"(, "rope_scaling": {"type": "yarn", "factor": 2, "mscale": 0.7})", "rope_scaling.mscale: expected no such"},
      {R"(, "original_max_position_embeddings": 32, "rope_scaling": {"type": "yarn", "factor": 8,
          "original_max_position_embeddings": 64})",
       "original_max_position_embeddings: expected 64, as in the rotary settings, got 32"},
      {R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
          "original_max_position_embeddings": 64})",
       "rope_scaling.high_freq_factor: expected more than low_freq_factor, got 4"},
      {R"(, "rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "linear", "factor": 4})",
       "rope_scaling: expected the same as rope_parameters"},
      {R"(, "rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e5})",
       "rope_parameters.rope_theta: expected 10000, as elsewhere in the file, got 100000"},
      {R"(, "rope_interleaved": true)", "rope_interleaved: expected no such setting (it is not supported), got true"},
      {R"(, "rope_local_base_freq": 10000)", "rope_local_base_freq: expected no such setting"},
      {R"(, "layer_types": ["full_attention", "sliding_attention"])",
       "layer_types: expected full_attention everywhere"},
      {R"(, "hidden_act": "gelu")", "hidden_act: expected \"silu\" (nothing else is supported), got \"gelu\""},
      {R"(, "attention_bias": 1)", "attention_bias: expected true or false"},
      {R"(, "attention_dropout": 0.1)", "attention_dropout: expected 0"},
      {R"(, "quantization_config": {"bits": 4})", "quantization_config: expected null"},
      {R"(, "sliding_window": 4096)", "sliding_window: expected null"},
      {R"(, "partial_rotary_factor": 0.5)", "partial_rotary_factor: expected 1"},
      {R"(, "num_key_value_heads": 3)", "num_key_value_heads: expected a divisor of num_attention_heads (4), got 3"},
      {R"(, "head_dim": 24)", "head_dim: expected a multiple of 16 (the kernels' panel width), got 24"},
      {R"(, "head_dim": 0)", "head_dim: expected an integer from 1 to 2147483647, got 0"},
      {R"(, "rms_norm_eps": 0)", "rms_norm_eps: expected a positive number, got 0"},
      {R"(, "rope_theta": "big")", "rope_theta: expected a positive number, got \"big\""},
      {R"(, "tie_word_embeddings": 1)", "tie_word_embeddings: expected true or false, got 1"},
      {R"(, "eos_token_id": [1, "x"])", "eos_token_id: expected a token id or a list of them"},
      {R"(, "bos_token_id": 5000000000)", "bos_token_id: expected an integer from -1 to 2147483647, got 5000000000"},
  };
  for (const auto& [more, message] : cases) EXPECT_NE(says(more).find(message), std::string::npos) << says(more);
}

TEST(ModelConfig, RefusesBadSizesAndFamilies) {
  const auto says = [](const char* key, Json value) {
    Json json = config();
    json[key] = std::move(value);
    return error_text([&] { parse_model_config(json); });
  };
  EXPECT_EQ(says("model_type", "mamba"), "model_type: expected one of llama, qwen2, qwen3, got \"mamba\"");
  EXPECT_NE(says("architectures", Json::List{"LlamaForSequenceClassification"}).find("expected [\"LlamaForCausalLM\"]"),
            std::string::npos);
  EXPECT_NE(says("hidden_size", 72).find("hidden_size: expected a multiple of 16"), std::string::npos);
  EXPECT_NE(says("hidden_size", nullptr).find("hidden_size: expected an integer"), std::string::npos);
  EXPECT_NE(
      says("num_attention_heads", 65).find("head_dim (hidden_size / num_attention_heads): expected a multiple of 16"),
      std::string::npos);
  EXPECT_NE(says("num_hidden_layers", 1000000).find("num_hidden_layers: expected an integer from 1 to 4096"),
            std::string::npos);
  EXPECT_NE(says("vocab_size", std::int64_t{1} << 40).find("vocab_size: expected"), std::string::npos);
  EXPECT_NE(says("vocab_size", 3.5).find("vocab_size: expected"), std::string::npos);
  EXPECT_NE(error_text([] { parse_model_config(Json(3)); }).find("expected an object, got 3"), std::string::npos);
}

TEST(ModelConfig, RopeScalingInBothSpellings) {
  const std::pair<const char*, const char*> pairs[] = {
      {R"("rope_theta": 1e6, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})",
       R"("rope_parameters": {"rope_theta": 1e6, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})"},
      {R"("rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2})",
       R"("rope_parameters": {"rope_theta": 1e6, "rope_type": "linear", "factor": 2.0})"},
      {R"("rope_theta": 1e6, "max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 4.0})",
       R"("max_position_embeddings": 4096, "rope_parameters": {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0,
          "original_max_position_embeddings": 4096, "attention_factor": null, "beta_fast": 32})"},
  };
  for (const auto& [old_spelling, new_spelling] : pairs) {
    const auto parsed = [](const std::string& more) { return parse_model_config(config((", " + more).c_str())); };
    const ModelConfig c = parsed(old_spelling);
    EXPECT_EQ(c.rope_theta, 1e6);
    EXPECT_NE(c.rope_scaling.type, RopeScaling::Type::None);
    EXPECT_EQ(to_config_json(parsed(new_spelling)), to_config_json(c));
    EXPECT_EQ(to_config_json(parse_model_config(parse_json(to_config_json(c).dump()))), to_config_json(c));
  }
}

TEST(ModelConfig, ReadsQwen) {
  // The keys of R1-Distill-Qwen-1.5B and Qwen3-4B.
  const char* qwen2 = R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
    "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21, "model_type": "qwen2",
    "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
    "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "use_cache": true, "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936})";
  const ModelConfig distill = parse_model_config(parse_json(qwen2));
  EXPECT_EQ(distill.head_dim, 128);
  EXPECT_EQ(num_parameters(distill), 1777088000);
  Json windowed = parse_json(qwen2);
  windowed["use_sliding_window"] = true;
  EXPECT_NE(error_text([&] {
              parse_model_config(windowed);
            }).find("use_sliding_window: expected false, or max_window_layers of at least 28"),
            std::string::npos);
  windowed["max_window_layers"] = 28;  // then no layer has one
  EXPECT_NO_THROW(parse_model_config(windowed));

  Json qwen3 = parse_json(R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "hidden_act": "silu",
    "hidden_size": 2560, "intermediate_size": 9728, "max_position_embeddings": 40960, "max_window_layers": 36,
    "model_type": "qwen3", "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
    "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936})");
  EXPECT_EQ(parse_model_config(qwen3).head_dim, 128);  // the class's own, not hidden_size / heads
  EXPECT_EQ(num_parameters(parse_model_config(qwen3)), 4022468096);
  qwen3["attention_bias"] = true;
  EXPECT_NE(error_text([&] { parse_model_config(qwen3); }).find("attention_bias: expected false"), std::string::npos);
}

TEST(ModelConfig, RoundTripsThroughJson) {
  ModelConfig c = testing::tiny_config();
  c.rope_theta = 100000;
  c.tie_embeddings = true;
  c.pad_id = 4;
  c.attention_bias = c.mlp_bias = true;
  const ModelConfig back = parse_model_config(parse_json(to_config_json(c).dump()));
  EXPECT_EQ(to_config_json(back), to_config_json(c));
  EXPECT_TRUE(back.attention_bias && back.mlp_bias);
  EXPECT_EQ(back.eos_ids, c.eos_ids);
  EXPECT_EQ(back.rope_theta, 100000);
}

TEST(ModelConfig, CountsParameters) {
  const ModelConfig c = testing::tiny_config();
  const std::int64_t layer = 32 * 64 * 2 + 32 * 32 * 2 + 3 * 32 * 40 + 2 * 32;
  EXPECT_EQ(num_parameters(c), 2 * 70 * 32 + 2 * layer + 32);
  ModelConfig huge = c;  // sizes that pass the parser one by one
  huge.num_layers = 4096;
  huge.hidden_size = huge.intermediate_size = 2147483632;
  EXPECT_NE(error_text([&] { num_parameters(huge); }).find("2^62"), std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
