// The bytes that each token stands for.
#include <gtest/gtest.h>

#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

Json tree_of(const char* name) {
  const Json file = golden("variants.json");
  for (const Json& variant : file.at("variants").as_list()) {
    if (variant.at("name").as_string() == name) return variant_tree(variant);
  }
  return {};
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, const std::string& text, bool add_special = false) {
  const Tokenizer::Encoding encoding = tokenizer.encode_with_ranges(text, {.add_special = add_special});
  EXPECT_EQ(encoding.ids, tokenizer.encode(text, {.add_special = add_special}));
  EXPECT_EQ(encoding.ids.size(), encoding.ranges.size());
  std::vector<std::string> out;
  for (const TextRange& range : encoding.ranges) out.push_back(text.substr(range.begin, range.end - range.begin));
  return out;
}

TEST(TokenizerRanges, AreTheTokensBytesWithoutNormalization) {
  const Json file = golden("variants.json");
  for (const char* name : {"gpt2", "smollm", "llama3", "deepseek"}) {
    const Tokenizer tokenizer = from_tree(tree_of(name));
    for (const Json& text : file.at("texts").as_list()) {
      SCOPED_TRACE(std::string(name) + text.dump());
      const std::vector<std::string> parts = pieces(tokenizer, text.as_string());
      const auto ids = tokenizer.encode(text.as_string());
      std::string whole;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        EXPECT_EQ(parts[i], tokenizer.token_bytes(ids[i]));
        whole += parts[i];
      }
      EXPECT_EQ(whole, text.as_string());
    }
  }
}

TEST(TokenizerRanges, AreInOrderAndInsideTheText) {
  const Json file = golden("variants.json");
  for (const Json& variant : file.at("variants").as_list()) {
    const Tokenizer tokenizer = from_tree(variant_tree(variant));
    for (const Json& text : file.at("texts").as_list()) {
      SCOPED_TRACE(variant.at("name").as_string() + text.dump());
      std::size_t begin = 0;
      for (const TextRange& range : tokenizer.encode_with_ranges(text.as_string()).ranges) {
        EXPECT_LE(begin, range.begin);
        EXPECT_LE(range.begin, range.end);
        EXPECT_LE(range.end, text.as_string().size());
        begin = range.begin;
      }
    }
  }
}

TEST(TokenizerRanges, RewrittenCharactersHaveOneRange) {
  const Tokenizer tokenizer = from_tree(tree_of("qwen2"));
  const std::vector<std::string> parts = pieces(tokenizer, "xy e\u0301\u4F60<|im_end|>e\u0301");
  std::string whole;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i == 0 || parts[i] != parts[i - 1]) whole += parts[i];  // the bytes of one rewritten character
  }
  EXPECT_EQ(whole, "xy e\u0301\u4F60<|im_end|>e\u0301");
  EXPECT_EQ(parts.back(), "e\u0301");
}

TEST(TokenizerRanges, OfStrippedSpaceAndWhatIsAdded) {
  Json tree = base_tree();
  Json token = added_token("<x>", static_cast<std::int64_t>(tree.at("model").at("vocab").size()));
  token["lstrip"] = token["rstrip"] = true;
  tree["added_tokens"].push_back(token);
  tree["pre_tokenizer"]["add_prefix_space"] = true;
  tree["post_processor"] = parse_json(R"({"type": "TemplateProcessing", "special_tokens": {"x": {"ids": [1]}},
      "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "x"}}]})");
  EXPECT_EQ(pieces(from_tree(tree), "q  <x> z", true), (std::vector<std::string>{"", "q", "  <x> ", "", "z", ""}));
}

TEST(TokenizerRanges, OfAWordWithBytesThatHaveNoToken) {
  EXPECT_EQ(pieces(from_tree(tree_of("dropped")), "xbx\nx"), (std::vector<std::string>{"xbx", "xbx", "\n", "x"}));
  EXPECT_NE(error_of([] { from_tree(base_tree()).encode_with_ranges("\xFF"); }).find("UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace grpo::test
