// Ids of the Rust library (tests/golden/tokenizer/make.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

// Each text gives the row's ids, with and without what the post-processor adds and special tokens as text; and back.
void expect_rows(const Tokenizer& tokenizer, const Json& texts, const Json& rows) {
  ASSERT_EQ(rows.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    SCOPED_TRACE(texts.as_list()[i].dump());
    const std::string& text = texts.as_list()[i].as_string();
    const Json& row = rows.as_list()[i];
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

TEST(TokenizerGolden, VariantsOfASmallTokenizer) {
  const Json file = golden("variants.json");
  ASSERT_EQ(file.at("variants").size(), 13u);
  for (const Json& variant : file.at("variants").as_list()) {
    SCOPED_TRACE(variant.at("name").as_string());
    expect_rows(from_tree(variant_tree(variant)), file.at("texts"), variant.at("rows"));
  }
}

TEST(TokenizerGolden, ShapesOfPublishedTokenizers) {
  const Json file = golden("shapes.json");
  ASSERT_EQ(file.at("shapes").size(), 2u);
  for (const Json& shape : file.at("shapes").as_list()) {
    SCOPED_TRACE(shape.at("name").as_string());
    expect_rows(from_tree(shape.at("tree")), file.at("texts"), shape.at("rows"));
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
