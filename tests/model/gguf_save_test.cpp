// GGUF files that we write: read by ourselves, tensor by tensor, and what cannot be written. The gguf package reads
// them in tests/golden/model/check_gguf.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "base/files.h"
#include "model/families.h"
#include "model/gguf.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::separate_sequences;
using testing::some_tokens;

at::Tensor some_logits(const CausalLM& model) {
  const at::NoGradGuard no_grad;
  return logits(model.forward(separate_sequences({some_tokens(50, 1, 70), some_tokens(9, 2, 70)})), model.head());
}

RopeScaling scaled(RopeScaling::Type type) {
  RopeScaling scaling;
  scaling.type = type;
  scaling.factor = 4;
  if (type != RopeScaling::Type::Linear) scaling.original_max_positions = 64;
  if (type == RopeScaling::Type::Yarn) scaling.attention_factor = 0.1 * std::log(4.0) + 1;
  return scaling;
}

class GgufSave : public ::testing::TestWithParam<const char*> {
 protected:
  ModelConfig config() const {
    ModelConfig c = testing::tiny_config(GetParam());
    c.initializer_range = 0.02;  // which GGUF does not hold
    return c;
  }
  static CausalLM model_of(const ModelConfig& config) {
    ModelConfig wide = config;
    wide.initializer_range = 0.2;
    CausalLM model = CausalLM::init(wide, 4, {});
    testing::vary_vectors(model);
    return model;
  }
  CausalLM saved(const CausalLM& model, GgufType type) {
    model.save_gguf(path_, nullptr, type);
    return CausalLM::load(path_, {});
  }

  ScratchFolder folder_;
  std::string path_ = folder_ / "model.gguf";
};

TEST_P(GgufSave, Fp32ComesBackBitForBit) {
  std::vector<ModelConfig> configs{config()};
  configs.push_back(config());
  configs.back().tie_embeddings = true;
  configs.back().rope_theta = 1e6;
  for (const auto type : {RopeScaling::Type::Linear, RopeScaling::Type::Yarn, RopeScaling::Type::Llama3}) {
    if (type == RopeScaling::Type::Llama3 && config().family != "llama") continue;
    configs.push_back(config());
    configs.back().rope_scaling = scaled(type);
  }
  if (config().family == "llama") {
    configs.push_back(config());
    configs.back().attention_bias = configs.back().mlp_bias = true;
    configs.back().eos_ids = {2, 5, 7};
  }
  for (const ModelConfig& c : configs) {
    const CausalLM model = model_of(c);
    const CausalLM read = saved(model, GgufType::F32);
    EXPECT_EQ(to_config_json(read.config()), to_config_json(c));
    ASSERT_EQ(read.parameters().size(), model.parameters().size());
    for (const Parameter* parameter : model.parameters()) {
      EXPECT_TRUE(get_values(*parameter).equal(get_values(read.parameter(parameter->name)))) << parameter->name;
    }
    EXPECT_TRUE(some_logits(read).equal(some_logits(model)));
  }
}

// Row 2j + c of a head in the file is row c * half + j of Hugging Face's, for Llama's queries and keys.
TEST_P(GgufSave, RowsAreInLlamaCppsOrder) {
  ModelConfig c = config();
  c.attention_bias = true;
  const CausalLM model = model_of(c);
  model.save_gguf(path_, nullptr, GgufType::F32);
  int paired = 0;
  for (const StoredTensor& tensor : open_gguf(path_).tensors) {
    const auto& specs = family_named(GetParam()).weights(model.config());
    const auto spec =
        std::find_if(specs.begin(), specs.end(), [&](const auto& s) { return s.gguf_name == tensor.name; });
    ASSERT_NE(spec, specs.end()) << tensor.name;
    const at::Tensor file = decode(tensor), ours = get_values(model.parameter(spec->name));
    const bool q = tensor.name.find("attn_q.") != std::string::npos,
               k = tensor.name.find("attn_k.") != std::string::npos;
    if (std::string(GetParam()) != "llama" || !(q || k)) {
      EXPECT_TRUE(file.equal(ours)) << tensor.name;
      continue;
    }
    ++paired;
    for (std::int64_t row = 0; row < file.size(0); ++row) {
      const std::int64_t head = row / 16, j = row % 16 / 2, half = row % 2;
      EXPECT_TRUE(file[row].equal(ours[head * 16 + half * 8 + j])) << tensor.name << " " << row;
    }
  }
  EXPECT_EQ(paired, std::string(GetParam()) == "llama" ? 8 : 0);  // two layers, weights and biases
}

TEST_P(GgufSave, HalvesRoundMatrices) {
  const CausalLM model = model_of(config());
  for (const auto& [type, scalar] : {std::pair{GgufType::F16, at::kHalf}, {GgufType::BF16, at::kBFloat16}}) {
    const CausalLM read = saved(model, type);
    for (const Parameter* parameter : model.parameters()) {
      const at::Tensor values = get_values(*parameter);
      const at::Tensor want = values.dim() == 1 ? values : values.to(scalar).to(at::kFloat);
      EXPECT_TRUE(get_values(read.parameter(parameter->name)).equal(want)) << parameter->name;
    }
  }
}

// A block's step is d = max / 127. Half a step of rounding, and d's own rounding to f16 (2^-11 of it, or 2^-25 where it
// is subnormal) times up to 127 steps.
TEST_P(GgufSave, Q8StaysWithinItsSteps) {
  const CausalLM model = model_of(config());
  const CausalLM read = saved(model, GgufType::Q8_0);
  for (const Parameter* parameter : model.parameters()) {
    const at::Tensor values = get_values(*parameter), got = get_values(read.parameter(parameter->name));
    if (values.dim() == 1) {
      EXPECT_TRUE(got.equal(values)) << parameter->name;
    } else if (values.size(1) % 32 != 0) {  // rows of 40: no whole blocks
      EXPECT_TRUE(got.equal(values.to(at::kHalf).to(at::kFloat))) << parameter->name;
    } else {
      const at::Tensor blocks = values.view({-1, 32}), back = got.view({-1, 32});
      const at::Tensor step = blocks.abs().amax(1, true) / 127;
      const at::Tensor bound = step / 2 + 127 * (step * 0x1p-11).clamp_min(0x1p-25);
      EXPECT_TRUE((back - blocks).abs().le(bound * 1.0001).all().item<bool>()) << parameter->name;
      EXPECT_GT((back - blocks).abs().max().item<float>(), 0) << parameter->name;
    }
  }
  // A step's rounding is 1 / sqrt(12) of it; blocks of 32 normal values have their maximum at about 2.1 deviations, so
  // a weight's error is 0.5 % of its deviation. Some 15 products in a row add up to sqrt(15) 0.5 %; thrice that.
  const at::Tensor want = some_logits(model);
  EXPECT_LE((some_logits(read) - want).norm().item<double>(), 0.058 * want.norm().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Families, GgufSave, ::testing::Values("llama", "qwen2", "qwen3"),
                         [](const auto& test) { return std::string(test.param); });

class GgufExport : public ::testing::Test {
 protected:
  static Tokenizer tokenizer(const char* config) {
    Tokenizer::TrainOptions options;
    options.vocab_size = 60;
    options.special_tokens = {"<pad>", "<s>", "</s>"};
    options.atomic_tokens = {"<think>"};
    options.alphabet = "abcdefghijklmnopqrstuvwxyz ";
    const std::vector<std::string> texts{"one and one is two and two and two is six"};
    return Tokenizer::from_json(Tokenizer::train(texts, options), config);
  }
  std::string says(const ModelConfig& config, GgufType type = GgufType::F32) {
    return error_text([&] { CausalLM::init(config, 1, {}).save_gguf(path_, nullptr, type); });
  }

  ScratchFolder folder_;
  std::string path_ = folder_ / "model.gguf";
};

TEST_F(GgufExport, TakesTheTokenizerAlong) {
  const Tokenizer ours = tokenizer(R"({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
    "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"})");
  ModelConfig config = testing::tiny_config();
  config.eos_ids = {5, 2};
  CausalLM::init(config, 1, {}).save_gguf(path_, &ours, GgufType::Q8_0);
  const Tokenizer read = Tokenizer::load(path_);
  EXPECT_EQ(read.vocab_size(), ours.vocab_size());  // the model's other ids are unused tokens
  for (const char* text : {"one is two", "<think>and</s> six  <s>", "seven"}) {
    EXPECT_EQ(read.encode(text, {.add_special = true}), ours.encode(text, {.add_special = true})) << text;
  }
  for (std::int32_t id = 0; id < 70; ++id) {
    EXPECT_EQ(read.token_bytes(id), ours.token_bytes(id)) << id;
    EXPECT_EQ(read.is_special(id), ours.is_special(id)) << id;
  }
  EXPECT_EQ(read.bos_id(), 1);
  EXPECT_EQ(read.eos_id(), 2);
  EXPECT_EQ(read.template_defaults().at("pad_token").as_string(), "<pad>");
  EXPECT_EQ(read.chat_template(), ours.chat_template());
  EXPECT_EQ(CausalLM::load(path_, {}).config().eos_ids, (std::vector<std::int32_t>{2, 5}));  // the tokenizer's first

  const std::string bytes = read_file(path_);
  const GgufFile file = GgufFile::parse(std::as_bytes(std::span(bytes)), path_);
  EXPECT_EQ(file.strings_at("tokenizer.ggml.tokens").size(), 70u);
  EXPECT_EQ(file.ints_at("tokenizer.ggml.token_type").back(), 5);
  EXPECT_EQ(file.string_at("tokenizer.ggml.pre"), "smollm");
  EXPECT_EQ(file.int_at("general.file_type"), 7);
}

TEST_F(GgufExport, RefusesWhatGgufCannotSay) {
  ModelConfig config = testing::tiny_config("qwen2");
  config.rope_scaling = scaled(RopeScaling::Type::Llama3);
  EXPECT_NE(says(config).find("rope type llama3: expected family llama"), std::string::npos);
  config.rope_scaling = scaled(RopeScaling::Type::Yarn);
  config.rope_scaling.beta_fast = 16;
  EXPECT_NE(says(config).find("rope type yarn: expected default"), std::string::npos);
  config = testing::tiny_config();
  config.initializer_range = 1e5;
  EXPECT_NE(says(config, GgufType::F16).find("tensor model.embed_tokens.weight: its values do not fit F16"),
            std::string::npos)
      << says(config, GgufType::F16);
  EXPECT_FALSE(std::filesystem::exists(path_));  // nothing half-written stays
  config.vocab_size = 20;
  const Tokenizer large = tokenizer("{}");
  EXPECT_NE(error_text([&] {
              CausalLM::init(config, 1, {}).save_gguf(path_, &large, GgufType::F32);
            }).find("vocabulary is smaller than the tokenizer's"),
            std::string::npos);
}

TEST_F(GgufExport, ReadsLlama31sFactorsAndNoOthers) {
  // As llama.cpp's converter writes them: no settings beside the tensor.
  ModelConfig config = testing::tiny_config();
  config.rope_theta = 500000;
  config.rope_scaling = scaled(RopeScaling::Type::Llama3);
  config.rope_scaling.factor = 32;
  config.rope_scaling.original_max_positions = 8192;
  const auto without_note = [&] {
    CausalLM::init(config, 1, {}).save_gguf(path_, nullptr, GgufType::F32);
    std::string bytes = read_file(path_);
    bytes.replace(bytes.find("grpo.rope_parameters"), 4, "none");
    testing::write_bytes(path_, bytes);
    return CausalLM::load(path_, {}).config();
  };
  EXPECT_EQ(to_config_json(without_note()).at("rope_scaling"), to_config_json(config).at("rope_scaling"));
  config.rope_scaling.original_max_positions = 4096;
  EXPECT_NE(error_text(without_note).find("rope_freqs.weight\": expected Llama 3.1's factors"), std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
