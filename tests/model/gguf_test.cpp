// GGUF models: block formats, configuration, row order, hostile files.
#include <gtest/gtest.h>

#include <random>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/stack.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "base/files.h"
#include "model/families.h"
#include "model/gguf.h"
#include "model/gguf_file.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::GgufBuilder;

constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kBf16 = 30;

std::string half(std::uint16_t bits) { return GgufBuilder::bytes_of(bits); }
constexpr std::uint16_t kHalfOne = 0x3C00, kHalfMinusHalf = 0xB800, kHalfQuarter = 0x3400;

at::Tensor decoded(StoredType type, const std::string& bytes, std::int64_t count) {
  const ScratchFolder folder;
  testing::write_bytes(folder / "tensor", bytes);
  StoredTensor tensor;
  tensor.type = type;
  tensor.shape = {count};
  tensor.file = std::make_shared<const InputFile>(folder / "tensor");
  tensor.size = bytes.size();
  return decode(tensor);
}

TEST(GgufBlocks, DecodeByTheirFormulas) {
  std::string nibbles;  // element i is i % 16, element 16 + i is 15 - i
  for (int i = 0; i < 16; ++i) nibbles += static_cast<char>(i | (15 - i) << 4);
  const at::Tensor q4_0 = decoded(StoredType::Q4_0, half(kHalfMinusHalf) + nibbles, 32);
  const at::Tensor q4_1 = decoded(StoredType::Q4_1, half(kHalfQuarter) + half(kHalfOne) + nibbles, 32);
  std::string bytes;
  for (int i = 0; i < 32; ++i) bytes += static_cast<char>(i * 8 - 128);
  const at::Tensor q8_0 = decoded(StoredType::Q8_0, half(kHalfQuarter) + bytes, 32);
  for (int i = 0; i < 32; ++i) {
    const float q = static_cast<float>(i < 16 ? i : 31 - i);
    EXPECT_EQ(q4_0[i].item<float>(), (q - 8) * -0.5f) << i;
    EXPECT_EQ(q4_1[i].item<float>(), q * 0.25f + 1) << i;
    EXPECT_EQ(q8_0[i].item<float>(), static_cast<float>(i * 8 - 128) * 0.25f) << i;
  }
  EXPECT_EQ(decoded(StoredType::F16, half(kHalfMinusHalf), 1).item<float>(), -0.5f);
  EXPECT_EQ(decoded(StoredType::F16, half(0x0001), 1).item<float>(), 0x1p-24f);  // subnormal
  EXPECT_EQ(decoded(StoredType::BF16, half(0x3F80), 1).item<float>(), 1.0f);
}

// A GGUF of a model's weights in fp32, as llama.cpp's converter orders the rows of q and k.
GgufBuilder metadata_of(const ModelConfig& c) {
  GgufBuilder file;
  file.text("general.architecture", "llama");
  file.integer("llama.block_count", static_cast<std::uint32_t>(c.num_layers));
  file.integer("llama.context_length", static_cast<std::uint32_t>(c.max_positions));
  file.integer("llama.embedding_length", static_cast<std::uint32_t>(c.hidden_size));
  file.integer("llama.feed_forward_length", static_cast<std::uint32_t>(c.intermediate_size));
  file.integer("llama.attention.head_count", static_cast<std::uint32_t>(c.num_heads));
  file.integer("llama.attention.head_count_kv", static_cast<std::uint32_t>(c.num_kv_heads));
  file.integer("llama.attention.key_length", static_cast<std::uint32_t>(c.head_dim));
  file.integer("llama.rope.dimension_count", static_cast<std::uint32_t>(c.head_dim));
  file.real("llama.rope.freq_base", static_cast<float>(c.rope_theta));
  file.real("llama.attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_eps));
  file.integer("tokenizer.ggml.bos_token_id", 1);
  file.integer("tokenizer.ggml.eos_token_id", 2);
  file.integer("tokenizer.ggml.eot_token_id", 5);
  return file;
}

std::string float_bytes(const at::Tensor& values) {
  const at::Tensor plain = values.contiguous();
  return {static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()};
}

// Row 2j + c of a head is row c * half + j of Hugging Face's, written out row by row.
at::Tensor paired(const at::Tensor& values, std::int64_t heads) {
  const std::int64_t size = values.size(0) / heads;
  std::vector<at::Tensor> rows;
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t j = 0; j < size / 2; ++j) {
      for (std::int64_t c = 0; c < 2; ++c) rows.push_back(values[h * size + c * (size / 2) + j]);
    }
  }
  return at::stack(rows);
}

class Gguf : public ::testing::Test {
 protected:
  std::string model_file(const ModelConfig& config) {
    const CausalLM model = CausalLM::init(config, 4, {});
    GgufBuilder file = metadata_of(config);
    for (const WeightSpec& spec : family_named("llama").weights(config)) {
      at::Tensor values = get_values(model.parameter(spec.name));
      if (spec.gguf_name.find("attn_q.") != std::string::npos) values = paired(values, config.num_heads);
      if (spec.gguf_name.find("attn_k.") != std::string::npos) values = paired(values, config.num_kv_heads);
      const std::vector<std::uint64_t> dims(spec.shape.rbegin(), spec.shape.rend());
      file.tensor(spec.gguf_name, dims, kF32, float_bytes(values));
    }
    return file.file();
  }
  std::string says(const std::string& bytes) {
    testing::write_bytes(path_, bytes);
    return error_text([&] { CausalLM::load(path_, {}); });
  }

  ScratchFolder folder_;
  std::string path_ = folder_ / "model.gguf";
};

TEST_F(Gguf, LoadsTheSameModel) {
  for (const bool tied : {false, true}) {
    ModelConfig config = testing::tiny_config();
    config.tie_embeddings = tied;
    config.norm_eps = 1e-5;
    config.rope_theta = 50000;
    testing::write_bytes(path_, model_file(config));
    const CausalLM read = CausalLM::load(path_, {}), want = CausalLM::init(config, 4, {});
    config.initializer_range = 0.02;  // which GGUF does not hold
    EXPECT_EQ(to_config_json(read.config()), to_config_json(config));
    for (const Parameter* parameter : want.parameters()) {
      EXPECT_TRUE(get_values(*parameter).equal(get_values(read.parameter(parameter->name)))) << parameter->name;
    }
  }
}

TEST_F(Gguf, ListsWhatIsWrongByTheFilesNames) {
  const ModelConfig config = testing::tiny_config();
  GgufBuilder file = metadata_of(config);
  file.tensor("token_embd.weight", {32, 70}, kF32, std::string(70 * 32 * 4, '\0'));
  file.tensor("output.weight", {32, 71}, kF16, std::string(71 * 32 * 2, '\0'));
  file.tensor("blk.7.attn_norm.weight", {8}, kF32, std::string(32, '\0'));
  const std::string text = says(file.file());
  EXPECT_NE(text.find("(21 tensors)"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  missing: blk.0.attn_q.weight [64, 32]"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  misshapen: output.weight: expected [70, 32], got [71, 32]"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  and 1 more"), std::string::npos) << text;  // the list stops at 20: the extra one is the 21st
}

TEST_F(Gguf, RefusesWhatItCannotHonour) {
  const auto with = [&](const auto& change) {
    GgufBuilder file = metadata_of(testing::tiny_config());
    change(file);
    file.tensor("token_embd.weight", {32, 70}, kF32, std::string(70 * 32 * 4, '\0'));
    return says(file.file());
  };
  EXPECT_NE(with([](auto& f) {
              f.text("llama.rope.scaling.type", "longrope");
            }).find("llama.rope.scaling.type: expected none, linear or yarn"),
            std::string::npos);
  EXPECT_NE(with([](auto& f) { f.integer("llama.expert_count", 8); }).find("llama.expert_count: expected 0"),
            std::string::npos);
  EXPECT_NE(
      with([](auto& f) { f.integer("llama.attention.value_length", 32); }).find("expected the head size 16, got 32"),
      std::string::npos);
  const std::string types = with([](auto& f) {
    f.tensor("blk.0.attn_v.weight", {256, 2}, 12, std::string(288, '\0'));
  });
  EXPECT_NE(
      types.find("tensor \"blk.0.attn_v.weight\": expected type F64, F32, F16, BF16, Q8_0, Q4_0 or Q4_1, got Q4_K"),
      std::string::npos)
      << types;
  EXPECT_NE(with([](auto& f) { f.tensor("x", {4}, 99, "    "); }).find("got type 99"), std::string::npos);
  EXPECT_NE(with([](auto& f) {
              f.tensor("x", {48, 2}, kQ8_0, std::string(102, '\0'));
            }).find("expected rows of a multiple of 32"),
            std::string::npos);

  const std::string factors = with([](auto& f) { f.tensor("rope_freqs.weight", {8}, kF32, std::string(32, '\0')); });
  EXPECT_NE(factors.find("tensor \"rope_freqs.weight\": expected Llama 3.1's factors"), std::string::npos) << factors;
  EXPECT_NE(with([](auto& f) {
              f.tensor("rope_freqs.weight", {9}, kF32, std::string(36, '\0'));
            }).find("tensor \"rope_freqs.weight\": expected F32 [8], got F32 [9]"),
            std::string::npos);
  EXPECT_NE(
      with([](auto& f) { f.real("llama.rope.scaling.attn_factor", 2); }).find("attn_factor: expected no such key"),
      std::string::npos);

  GgufBuilder other;
  other.text("general.architecture", "mamba");
  EXPECT_NE(says(other.file()).find("general.architecture: expected one of llama, qwen2, qwen3, got \"mamba\""),
            std::string::npos);
  ModelConfig config = testing::tiny_config();
  config.num_layers = 100000;
  GgufBuilder deep = metadata_of(config);
  deep.integer("llama.vocab_size", 70);
  EXPECT_NE(says(deep.file()).find("num_hidden_layers: expected an integer from 1 to 4096"), std::string::npos);
  EXPECT_NE(says("not a model at all, but long enough").find("model.gguf"), std::string::npos);
  EXPECT_NE(says("").find("model.gguf"), std::string::npos);
}

TEST_F(Gguf, TensorDataStaysInsideTheFile) {
  const auto with_tensor = [&](const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset) {
    GgufBuilder file = metadata_of(testing::tiny_config());
    file.tensor("token_embd.weight", {32, 70}, kF32, std::string(70 * 32 * 4, '\0'));
    file.tensor_at("blk.0.attn_q.weight", dims, type, offset);
    return says(file.file());
  };
  for (const std::uint32_t type : {kF32, kF16, kBf16, kQ4_0, kQ4_1, kQ8_0}) {
    EXPECT_NE(with_tensor({32, 64}, type, 70 * 32 * 4 - 32).find("truncated file?"), std::string::npos) << type;
  }
  EXPECT_NE(with_tensor({32, 64}, kF32, ~std::uint64_t{31}).find("attn_q"), std::string::npos);
  EXPECT_NE(with_tensor({std::uint64_t{1} << 46, 2}, kF32, 0).find("truncated file?"), std::string::npos);
  EXPECT_NE(with_tensor({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, kF32, 0).find("attn_q"), std::string::npos);
}

TEST_F(Gguf, TruncationAnywhereIsAnError) {
  ModelConfig config = testing::tiny_config();
  config.num_layers = 1;
  const std::string bytes = model_file(config);
  for (std::size_t length = 0; length < bytes.size(); length += length < 3000 ? 7 : 997) {
    EXPECT_NE(says(bytes.substr(0, length)), "") << length;
  }
}

// Changed bytes of the header give a file that reads or an Error, nothing else.
TEST_F(Gguf, SurvivesChangedBytes) {
  ModelConfig config = testing::tiny_config();
  config.num_layers = 1;
  const std::string bytes = model_file(config);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string changed = bytes;
    for (int n = 0; n < 1 + i % 3; ++n) changed[random() % 1600] = static_cast<char>(random());
    testing::write_bytes(path_, changed);
    try {
      CausalLM::load(path_, {});
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
