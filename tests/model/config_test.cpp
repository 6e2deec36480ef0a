// ModelConfig from config.json.
#include <gtest/gtest.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "model/scratch.h"

namespace grpo {
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
  EXPECT_EQ(says(R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8.0})"),
            "config.json:2:129: rope_scaling.rope_type: expected \"default\" (scaled rotary positions are not "
            "supported), got "
            "\"llama3\"");
  const std::pair<const char*, const char*> cases[] = {
      {R"(, "rope_scaling": {"type": "linear", "factor": 2})", "rope_scaling.type: expected \"default\""},
      {R"(, "rope_parameters": {"rope_type": "yarn"})", "rope_parameters.rope_type: expected \"default\""},
      {R"(, "hidden_act": "gelu")", "hidden_act: expected \"silu\" (nothing else is supported), got \"gelu\""},
      {R"(, "attention_bias": true)", "attention_bias: expected false"},
      {R"(, "mlp_bias": true)", "mlp_bias: expected false"},
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
  EXPECT_EQ(says("model_type", "mamba"), "model_type: expected one of llama, got \"mamba\"");
  EXPECT_NE(says("architectures", Json::List{"LlamaForSequenceClassification"}).find("expected [\"LlamaForCausalLM\"]"),
            std::string::npos);
  EXPECT_NE(says("hidden_size", 72).find("hidden_size: expected a multiple of 16"), std::string::npos);
  EXPECT_NE(says("hidden_size", nullptr).find("hidden_size: expected an integer"), std::string::npos);
  EXPECT_NE(says("num_attention_heads", 65).find("head_dim: expected a multiple of 16"), std::string::npos);
  EXPECT_NE(says("num_hidden_layers", 1000000).find("num_hidden_layers: expected an integer from 1 to 4096"),
            std::string::npos);
  EXPECT_NE(says("vocab_size", std::int64_t{1} << 40).find("vocab_size: expected"), std::string::npos);
  EXPECT_NE(says("vocab_size", 3.5).find("vocab_size: expected"), std::string::npos);
  EXPECT_NE(error_text([] { parse_model_config(Json(3)); }).find("expected an object, got 3"), std::string::npos);
}

TEST(ModelConfig, RoundTripsThroughJson) {
  ModelConfig c = testing::tiny_config();
  c.rope_theta = 100000;
  c.tie_embeddings = true;
  c.pad_id = 4;
  const ModelConfig back = parse_model_config(parse_json(to_config_json(c).dump()));
  EXPECT_EQ(to_config_json(back), to_config_json(c));
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
}  // namespace grpo
