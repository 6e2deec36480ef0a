// Loss masks of templates with {% generation %} blocks: equal to transformers' assistant masks.
#include <filesystem>
#include <map>

#include <grpo/text.h>
#include <gtest/gtest.h>

#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

const Json& masks() {
  static const Json file =
      parse_json(read_file(std::string(GRPO_SOURCE_DIR) + "/tests/golden/chat_template/masks.json"), {"masks.json"});
  return file;
}

// How many 0s, then how many 1s, and so on.
Json::List runs_of(const std::vector<std::uint8_t>& mask) {
  std::vector<std::int64_t> runs = {0};
  std::uint8_t last = 0;
  for (const std::uint8_t bit : mask) {
    if (bit != last) runs.push_back(0);
    ++runs.back();
    last = bit;
  }
  return Json(runs).as_list();
}

// Checks every case of tokenizer `name` and returns how many there were.
int check_cases(const std::string& name, const std::string& tokenizer_json) {
  int count = 0;
  std::map<std::string, const Tokenizer> tokenizers;  // by template
  for (const Json& one : masks().at("cases").as_list()) {
    if (one.at("tokenizer").as_string() != name) continue;
    ++count;
    const std::string& marked = one.at("template").as_string();
    const std::string& messages = one.at("messages").as_string();
    SCOPED_TRACE(name + ", " + marked + ", " + messages);
    auto found = tokenizers.find(marked);
    if (found == tokenizers.end()) {
      const Json config = Json::Object{{"chat_template", masks().at("templates").at(marked)}};
      found = tokenizers.emplace(marked, Tokenizer::from_json(tokenizer_json, config.dump())).first;
    }
    const Json row = Json::Object{{"messages", masks().at("messages").at(messages)}};
    const auto conversation = PromptBuilder(found->second, {}).build_conversation(row);
    EXPECT_EQ(Json(runs_of(conversation.is_assistant)).dump(), one.at("runs").dump());
  }
  return count;
}

TEST(GenerationMask, EqualsTransformersForSmallTokenizers) {
  const Json file = golden("variants.json");
  int count = 0;
  for (const Json& variant : file.at("variants").as_list()) {
    count += check_cases(variant.at("name").as_string(), variant_tree(variant).dump());
  }
  EXPECT_EQ(count, 3 * 18);
}

class ModelMask : public testing::TestWithParam<const char*> {};

TEST_P(ModelMask, EqualsTransformers) {
  const std::string file =
      std::string(GRPO_SOURCE_DIR) + "/../shared/data/tokenizers/" + GetParam() + "/tokenizer.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
  EXPECT_EQ(check_cases(std::string("model ") + GetParam(), read_file(file)), 18);
}

INSTANTIATE_TEST_SUITE_P(Shared, ModelMask, testing::Values("qwen3", "deepseek_v3"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace grpo::test
