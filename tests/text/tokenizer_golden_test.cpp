// Ids of the Rust library (tests/golden/tokenizer/make.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

// The base vocabulary without the tokens that hold a letter of `drop`, renumbered in order.
void add_vocabulary(Json& tree, const std::string& drop) {
  auto dropped = [&](const std::string& token) {
    for (std::size_t i = 0; i < drop.size();) {
      const std::size_t length = static_cast<unsigned char>(drop[i]) < 0x80 ? 1 : 2;
      if (token.find(drop.substr(i, length)) != std::string::npos) return true;
      i += length;
    }
    return false;
  };
  Json::Object vocab;
  for (const auto& [token, id] : base_tree().at("model").at("vocab").as_object()) {
    if (!dropped(token)) vocab.emplace_back(token, vocab.size());
  }
  Json::List merges;
  for (const Json& merge : base_tree().at("model").at("merges").as_list()) {
    if (!dropped(merge.as_list()[0].as_string() + merge.as_list()[1].as_string())) merges.push_back(merge);
  }
  tree["model"]["vocab"] = std::move(vocab);
  tree["model"]["merges"] = std::move(merges);
}

TEST(TokenizerGolden, VariantsOfASmallTokenizer) {
  const Json file = golden("variants.json");
  const auto& texts = file.at("texts").as_list();
  ASSERT_EQ(file.at("variants").size(), 9u);
  for (const Json& variant : file.at("variants").as_list()) {
    SCOPED_TRACE(variant.at("name").as_string());
    Json tree = variant.at("tree");
    add_vocabulary(tree, variant.at("drop").as_string());
    const Tokenizer tokenizer = from_tree(tree);
    const auto& rows = variant.at("rows").as_list();
    ASSERT_EQ(rows.size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      SCOPED_TRACE(texts[i].dump());
      const std::string& text = texts[i].as_string();
      const Json& row = rows[i];
      const auto ids = ids_of(row.at("ids"));
      auto row_ids = [&](const char* key) { return row.find(key) ? ids_of(row.at(key)) : ids; };
      EXPECT_EQ(tokenizer.encode(text), ids);
      EXPECT_EQ(tokenizer.encode(text, {.add_special = true}), row_ids("with_special"));
      EXPECT_EQ(tokenizer.encode(text, {.parse_special = false}), row_ids("unparsed"));
      EXPECT_EQ(tokenizer.decode(ids), row.at("text").as_string());
      const Json& skipped = row.find("skipped") ? row.at("skipped") : row.at("text");
      EXPECT_EQ(tokenizer.decode(ids, {.skip_special = true}), skipped.as_string());
    }
  }
}

void expect_real_ids(const Tokenizer& tokenizer, const char* name) {
  const Json ids = golden("real.json").at(name);
  const Json texts = golden("variants.json").at("texts");
  ASSERT_EQ(ids.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = texts.as_list()[i].as_string();
    EXPECT_EQ(tokenizer.encode(text), ids_of(ids.as_list()[i])) << Json(text).dump();
  }
}

class RealTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(RealTokenizer, SameIds) {
  const std::string folder = std::string(GRPO_SOURCE_DIR) + "/../shared/data/tokenizers/" + GetParam();
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  expect_real_ids(Tokenizer::load(folder), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Shared, RealTokenizer, testing::Values("qwen3", "deepseek_v3"),
                         [](const auto& param) { return std::string(param.param); });

TEST(TokenizerGolden, SmolLM2FromGguf) {
  const char* path = std::getenv("GRPO_SMOLLM2_GGUF");
  if (!path) GTEST_SKIP() << "GRPO_SMOLLM2_GGUF is not set";
  const Tokenizer tokenizer = Tokenizer::load(path);
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.template_defaults().at("eos_token").as_string(), "<|im_end|>");
  EXPECT_NE(tokenizer.chat_template().find("<|im_start|>"), std::string::npos);
  // Tokens of the published vocabulary.
  EXPECT_EQ(tokenizer.token_id("<|endoftext|>"), 0);
  EXPECT_EQ(tokenizer.token_id("!"), 17);
  EXPECT_EQ(tokenizer.encode("<|im_start|>"), (std::vector<std::int32_t>{1}));
  expect_real_ids(tokenizer, "smollm2");
}

}  // namespace
}  // namespace grpo::test
