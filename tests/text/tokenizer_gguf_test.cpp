#include "text/tokenizer_gguf.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/scratch_folder.h"
#include "tests/text/gguf_builder.h"
#include "tests/text/tokenizer_fixture.h"
#include "text/gguf_write.h"
#include "text/tokenizer_json.h"

namespace grpo::test {
namespace {

using B = GgufBuilder;

struct Source {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<std::string> merges;
};

// The base vocabulary as a converter writes it, with a control, a user-defined and an unused token behind.
Source base_source() {
  Source source;
  for (const auto& [token, id] : base_tree().at("model").at("vocab").as_object()) source.tokens.push_back(token);
  source.types.assign(source.tokens.size(), 1);
  for (const auto& [token, type] : {std::pair{"<s>", 3}, {"<think>", 4}, {"[PAD]", 5}, {"</s>", 3}}) {
    source.tokens.push_back(token);
    source.types.push_back(type);
  }
  for (const Json& merge : base_tree().at("model").at("merges").as_list()) {
    source.merges.push_back(merge.as_list()[0].as_string() + " " + merge.as_list()[1].as_string());
  }
  return source;
}

B builder_of(const Source& source, const std::string& pre) {
  B builder;
  builder.add("tokenizer.ggml.model", "gpt2")
      .add("tokenizer.ggml.pre", pre)
      .add("tokenizer.ggml.tokens", B::kArray, B::strings(source.tokens))
      .add("tokenizer.ggml.token_type", B::kArray, B::numbers(B::kI32, source.types))
      .add("tokenizer.ggml.merges", B::kArray, B::strings(source.merges));
  return builder;
}

class GgufFileOnDisk {
 public:
  explicit GgufFileOnDisk(const std::string& bytes) { write_file_atomic(path(), bytes); }
  std::string path() const { return folder_ / "tokenizer.gguf"; }

 private:
  ScratchFolder folder_;
};

TEST(TokenizerGguf, EqualsItsTokenizerJson) {
  B builder = builder_of(base_source(), "qwen2");
  builder.add("tokenizer.ggml.eos_token_id", B::kU32, B::raw<std::uint32_t>(703))
      .add("tokenizer.ggml.padding_token_id", B::kU32, B::raw<std::uint32_t>(0))
      .add("tokenizer.chat_template", "{{ x }}")
      .add("general.architecture", "qwen2")
      .add("qwen2.context_length", B::kU32, B::raw<std::uint32_t>(4096));
  const GgufFileOnDisk file(builder.bytes());
  const Tokenizer tokenizer = Tokenizer::load(file.path());
  EXPECT_EQ(tokenizer.vocab_size(), 704);
  EXPECT_EQ(tokenizer.eos_id(), 703);
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
  EXPECT_EQ(tokenizer.token_id("[PAD]"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(700));
  EXPECT_FALSE(tokenizer.is_special(701));
  EXPECT_EQ(tokenizer.chat_template(), "{{ x }}");
  EXPECT_EQ(tokenizer.template_defaults().at("eos_token").as_string(), "</s>");

  const auto files = tokenizer.files();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].name, "tokenizer.json");
  const Json config = parse_json(files[1].bytes);
  EXPECT_EQ(config.at("tokenizer_class").as_string(), "PreTrainedTokenizerFast");
  EXPECT_EQ(config.at("model_max_length").as_int(), 4096);
  const Tokenizer again = Tokenizer::from_json(files[0].bytes, files[1].bytes);
  const Json golden_file = golden("variants.json");
  const Json& qwen2 = golden_file.at("variants").as_list()[2];
  ASSERT_EQ(qwen2.at("name").as_string(), "qwen2");
  for (std::size_t i = 0; i < golden_file.at("texts").size(); ++i) {
    const std::string& text = golden_file.at("texts").as_list()[i].as_string();
    EXPECT_EQ(again.encode(text), tokenizer.encode(text));
    if (text.find('<') != std::string::npos) continue;  // the golden variant has other added tokens
    EXPECT_EQ(tokenizer.encode(text), ids_of(qwen2.at("rows").as_list()[i].at("ids"))) << text;
  }
}

TEST(TokenizerGguf, AddsBosAndEosWhereTheMetadataSay) {
  B builder = builder_of(base_source(), "gpt-2");
  builder.add("tokenizer.ggml.bos_token_id", B::kU32, B::raw<std::uint32_t>(700))
      .add("tokenizer.ggml.eos_token_id", B::kU32, B::raw<std::uint32_t>(703));
  const auto ends = [](const B& b) {
    const GgufFileOnDisk file(b.bytes());
    const auto ids = Tokenizer::load(file.path()).encode("a", {.add_special = true});
    return std::pair{ids.front(), ids.back()};
  };
  const std::int32_t a = *from_tree(base_tree()).token_id("a");
  EXPECT_EQ(ends(builder), (std::pair{a, a}));
  B with_bos = builder;
  with_bos.add("tokenizer.ggml.add_bos_token", B::kBool, B::raw<std::uint8_t>(1));
  EXPECT_EQ(ends(with_bos), (std::pair{700, a}));
  with_bos.add("tokenizer.ggml.add_eos_token", B::kBool, B::raw<std::uint8_t>(1));
  EXPECT_EQ(ends(with_bos), (std::pair{700, 703}));
  B llama = builder_of(base_source(), "llama-bpe");
  llama.add("tokenizer.ggml.bos_token_id", B::kU32, B::raw<std::uint32_t>(700));
  EXPECT_EQ(ends(llama), (std::pair{700, a}));
}

TEST(TokenizerGguf, EveryNameOfWordRulesWorks) {
  const std::string text = "I'm 12345 \u4f60\u597d!  end \n x";
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"smollm", {"I", "'m", " ", "1", "2", "3", "4", "5", " \u4f60\u597d", "!", " ", " end", " \n", " x"}},
      {"gpt-2", {"I", "'m", " 12345", " \u4f60\u597d", "!", " ", " end", " \n", " x"}},
      {"qwen2", {"I", "'m", " ", "1", "2", "3", "4", "5", " \u4f60\u597d", "!", " ", " end", " \n", " x"}},
      {"llama-bpe", {"I", "'m", " ", "123", "45", " \u4f60\u597d", "!", " ", " end", " \n", " x"}},
      {"deepseek-v3", {"I", "'m", " ", "123", "45", " ", "\u4f60\u597d", "!", " ", " end", " \n", " x"}},
      {"deepseek-llm",
       {"I", "'", "m", " ", "1", "2", "3", "4", "5", " ", "\u4f60\u597d", "!", " ", " end", " ", "\n", " x"}},
      {"default", {"I", "'", "m", " ", "123", "45", " \u4f60\u597d", "!", " ", " end", " \n", " x"}},
  };
  for (const auto& [pre, words] : cases) {
    std::vector<std::string> got;
    read_pretokenizer(gguf_word_rules(pre, "m.gguf").pre_tokenizer).words(text, [&](const Pretokenizer::Word& word) {
      got.emplace_back(word.bytes);
    });
    EXPECT_EQ(got, words) << pre;
  }
}

TEST(TokenizerGguf, BadMetadataAreErrors) {
  const Source source = base_source();
  auto message = [](const B& builder) {
    const std::string bytes = builder.bytes();
    return error_of([&] { tokenizer_from_gguf(GgufFile::parse(as_span(bytes), "m.gguf")); });
  };
  EXPECT_EQ(message(builder_of(source, "smollm")), "");
  EXPECT_NE(message(builder_of(source, "tekken")).find("\"tekken\" (not supported)"), std::string::npos);
  EXPECT_NE(message(B().add("tokenizer.ggml.model", "llama")).find("expected gpt2"), std::string::npos);
  EXPECT_NE(message(B().add("tokenizer.ggml.model", "gpt2")).find("tokenizer.ggml.pre"), std::string::npos);
  EXPECT_NE(message(B()).find("tokenizer.ggml.model"), std::string::npos);
  Source twice = source;
  twice.tokens.back() = "<s>";
  EXPECT_NE(message(builder_of(twice, "gpt-2")).find("occurs twice"), std::string::npos);
  Source broken = source;
  broken.tokens[3] = "\xFF";
  EXPECT_NE(message(builder_of(broken, "gpt-2")).find("token 3 is no valid UTF-8"), std::string::npos);
  Source types = source;
  types.types.pop_back();
  EXPECT_NE(message(builder_of(types, "gpt-2")).find("token types"), std::string::npos);
  B eos = builder_of(source, "gpt-2");
  eos.add("tokenizer.ggml.eos_token_id", B::kU32, B::raw<std::uint32_t>(70000));
  EXPECT_NE(message(eos).find("id 70000 is not in the vocabulary"), std::string::npos);
}

std::string written(const Tokenizer& tokenizer, std::int64_t vocab_size) {
  GgufMetadata metadata;
  write_gguf_tokenizer(tokenizer, vocab_size, metadata);
  std::string head = "GGUF";
  GgufMetadata::append(head, std::uint32_t{3});
  GgufMetadata::append(head, std::uint64_t{0});
  GgufMetadata::append(head, metadata.count());
  return head + metadata.bytes();
}

TEST(TokenizerGguf, WrittenAndReadItIsTheSame) {
  const Json golden_file = golden("variants.json");
  for (const char* pre : {"smollm", "gpt-2", "qwen2", "llama-bpe", "deepseek-v3", "deepseek-llm", "default"}) {
    Json tree = base_tree();
    const GgufWordRules rules = gguf_word_rules(pre, "m.gguf");
    tree["pre_tokenizer"] = rules.pre_tokenizer;
    tree["normalizer"] = rules.normalizer;
    tree["model"]["ignore_merges"] = rules.ignore_merges;
    tree["added_tokens"] = Json::List{added_token("<s>", 700), added_token("<think>", 701, false)};
    const Tokenizer tokenizer = from_tree(tree, R"({"chat_template": "{{ x }}"})");
    const std::string bytes = written(tokenizer, 710);
    const GgufFile file = GgufFile::parse(as_span(bytes), "m.gguf");
    EXPECT_EQ(file.string_at("tokenizer.ggml.pre"), pre);
    EXPECT_EQ(file.strings_at("tokenizer.ggml.tokens").size(), 710u);
    EXPECT_FALSE(file.bool_at("tokenizer.ggml.add_bos_token"));
    EXPECT_EQ(file.string_at("tokenizer.chat_template"), "{{ x }}");
    const Tokenizer again = Tokenizer::from_json(tokenizer_from_gguf(file).tokenizer_json);
    for (const Json& text : golden_file.at("texts").as_list()) {
      EXPECT_EQ(again.encode(text.as_string()), tokenizer.encode(text.as_string())) << pre << ": " << text.dump();
    }
  }
}

TEST(TokenizerGguf, WriterRefusesWhatHasNoName) {
  Json tree = base_tree();
  tree["pre_tokenizer"] = parse_json(R"({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})");
  EXPECT_NE(error_of([&] { written(from_tree(tree), 800); }).find("expected the rules of smollm, qwen2, llama-bpe"),
            std::string::npos);
  tree = base_tree();
  tree["added_tokens"] = Json::List{added_token("<s>", 700)};
  tree["post_processor"] = parse_json(R"({"type": "TemplateProcessing", "pair": [],
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [700], "tokens": ["<s>"]}}})");
  EXPECT_NE(error_of([&] { written(from_tree(tree), 800); }).find("post_processor: expected one that adds bos_token"),
            std::string::npos);
  const std::string bytes = written(from_tree(tree, R"({"bos_token": "<s>"})"), 800);
  EXPECT_TRUE(GgufFile::parse(as_span(bytes), "m.gguf").bool_at("tokenizer.ggml.add_bos_token"));
}

class SharedTokenizer : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(SharedTokenizer, HasItsName) {
  const auto& [name, pre] = GetParam();
  const std::string folder = std::string(GRPO_SOURCE_DIR) + "/../shared/data/tokenizers/" + name;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const std::string bytes = written(tokenizer, tokenizer.vocab_size());
  EXPECT_EQ(GgufFile::parse(as_span(bytes), name).string_at("tokenizer.ggml.pre"), pre);
}

INSTANTIATE_TEST_SUITE_P(Real, SharedTokenizer,
                         testing::Values(std::pair{"qwen3", "qwen2"}, std::pair{"deepseek_v3", "deepseek-v3"}),
                         [](const auto& test) { return std::string(test.param.first); });

}  // namespace
}  // namespace grpo::test
