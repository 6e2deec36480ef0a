#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <thread>

#include "support/scratch_folder.h"
#include "tests/text/tokenizer_fixture.h"
#include "text/tokenizer_utf8.h"

namespace grpo::test {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

Json chat_tree() {
  Json tree = base_tree();
  tree["added_tokens"] = Json::List{added_token("<|end|>", 700), added_token("<think>", 701, false)};
  return tree;
}

TEST(Tokenizer, Vocabulary) {
  const Tokenizer tokenizer = from_tree(chat_tree());
  EXPECT_EQ(tokenizer.vocab_size(), 702);
  EXPECT_EQ(tokenizer.token_id("<|end|>"), 700);
  EXPECT_EQ(tokenizer.token_id("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(700));
  EXPECT_FALSE(tokenizer.is_special(701));
  EXPECT_FALSE(tokenizer.is_special(0));
  EXPECT_EQ(tokenizer.token_bytes(701), "<think>");
  EXPECT_EQ(tokenizer.token_bytes(*tokenizer.token_id("\u0120")), " ");  // the byte alphabet's space
  EXPECT_EQ(tokenizer.token_bytes(*tokenizer.token_id("\u00e9")), "\xE9");
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
  EXPECT_EQ(tokenizer.chat_template(), "");
}

TEST(Tokenizer, IdsThatNoTokenHasGiveNothing) {
  Json tree = base_tree();
  tree["model"]["vocab"]["far"] = 800;  // 700, and 703 to 799, are nobody's
  tree["added_tokens"] = Json::List{added_token("<|end|>", 701), added_token("<think>", 702, false)};
  const Tokenizer tokenizer = from_tree(tree);
  EXPECT_EQ(tokenizer.vocab_size(), 801);
  for (const std::int32_t id : {-1, 700, 799, 801, 2147483647}) {
    EXPECT_EQ(tokenizer.decode(Ids{701, id, 702}), "<|end|><think>");
    EXPECT_EQ(tokenizer.token_bytes(id), "");
    EXPECT_FALSE(tokenizer.is_special(id));
    Tokenizer::Stream stream(tokenizer, {.skip_special = true});
    EXPECT_EQ(stream.push(id), "");
  }
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
  Json tree = base_tree();
  tree["model"]["vocab"]["zqz"] = 700;  // no merge leads to it
  EXPECT_EQ(from_tree(tree).encode("zqz zqz"), (Ids{89, 80, 89, 220, 89, 80, 89}));
  tree["model"]["ignore_merges"] = true;
  EXPECT_EQ(from_tree(tree).encode("zqz zqz"), (Ids{700, 220, 89, 80, 89}));  // " zqz" is another word
}

TEST(Tokenizer, TheLongestAddedTokenWins) {
  Json tree = base_tree();
  tree["added_tokens"] = Json::List{added_token("<a", 700), added_token("<a>>", 701), added_token("<a>", 702)};
  const Tokenizer tokenizer = from_tree(tree);
  EXPECT_EQ(tokenizer.encode("<a<a><a>>"), (Ids{700, 702, 701}));
}

TEST(Tokenizer, NormalizedTokensDecodeToTheirNormalForm) {
  Json tree = base_tree();
  const auto next = static_cast<std::int64_t>(tree.at("model").at("vocab").size());
  tree["normalizer"] = Json::Object{{"type", "NFC"}};
  tree["added_tokens"] = Json::List{added_token("Q\u0327\u0323", next), added_token("e\u0301", next + 1)};
  for (Json& token : tree["added_tokens"].as_list()) token["normalized"] = true;
  const Tokenizer tokenizer = from_tree(tree);
  const auto id = static_cast<std::int32_t>(next);
  EXPECT_EQ(tokenizer.encode("Q\u0323\u0327"), Ids{id});
  // The second's normal form is one letter of the byte alphabet, which the library decodes as that byte.
  EXPECT_EQ(tokenizer.decode(Ids{id, id + 1}), "Q\u0327\u0323\uFFFD");
  EXPECT_EQ(tokenizer.token_id("e\u0301"), id + 1);
}

TEST(Tokenizer, InvalidUtf8BecomesReplacementCharacters) {
  // Left: bytes; right: bytes.decode("utf-8", errors="replace") of Python.
  const std::pair<std::string, std::string> cases[] = {
      {"a\xFF"
       "b",
       "a\uFFFDb"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},
      {"\xE2\x82", "\uFFFD"},
      {"\xE2\x82z", "\uFFFDz"},
      {"\xE2\xE2\x82\xAC", "\uFFFD\u20AC"},
      {"\xF0\x9F\x98", "\uFFFD"},
      {"\xF0\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xE0\x9F\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x8F\xBF", "\uFFFD"},
      {"\x80\xBF", "\uFFFD\uFFFD"},
      {"\xF5\x80", "\uFFFD\uFFFD"},
      {"ok \xF0\x9F\x98\x80", "ok \U0001F600"},
  };
  const Tokenizer tokenizer = from_tree(chat_tree());
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(replace_invalid_utf8(bytes), text);
    EXPECT_EQ(tokenizer.encode(bytes), tokenizer.encode(text));
  }
}

TEST(Tokenizer, StreamHoldsBackIncompleteCharacters) {
  Json tree = base_tree();
  tree["model"]["merges"] = Json::List{};  // every byte is a token
  const Tokenizer tokenizer = from_tree(tree);
  const Ids ids = tokenizer.encode("a\u00e9\U0001F600");
  ASSERT_EQ(ids.size(), 7u);
  Tokenizer::Stream stream(tokenizer);
  std::vector<std::string> parts;
  for (const std::int32_t id : ids) parts.push_back(stream.push(id));
  EXPECT_EQ(parts, (std::vector<std::string>{"a", "", "\u00e9", "", "", "", "\U0001F600"}));
  EXPECT_EQ(stream.finish(), "");
  stream.push(ids[3]);
  stream.push(ids[4]);
  EXPECT_EQ(stream.push(ids[0]), "\uFFFDa");
  stream.push(ids[1]);
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Tokenizer, StreamEqualsDecodeForRandomIds) {
  const Tokenizer tokenizer = from_tree(chat_tree());
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Ids ids(30);
    for (auto& id : ids) id = static_cast<std::int32_t>(random() % (round % 2 ? 256 : 702));  // bytes come first
    for (const bool skip : {false, true}) {
      Tokenizer::Stream stream(tokenizer, {.skip_special = skip});
      std::string text;
      for (const std::int32_t id : ids) text += stream.push(id);
      text += stream.finish();
      EXPECT_EQ(text, tokenizer.decode(ids, {.skip_special = skip}));
    }
  }
}

TEST(Tokenizer, ConfigNamesTokensAndTemplate) {
  const Tokenizer tokenizer = from_tree(chat_tree(), R"({"eos_token": {"__type": "AddedToken", "content": "<|end|>"},
      "bos_token": null, "pad_token": "[PAD]", "other": [1, 2], "add_bos_token": true,
      "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(tokenizer.eos_id(), 700);
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
  EXPECT_EQ(tokenizer.chat_template(), "D");
  EXPECT_EQ(tokenizer.template_defaults(), parse_json(R"({"eos_token": "<|end|>", "pad_token": "[PAD]"})"));
  EXPECT_NE(error_of([] { from_tree(chat_tree(), R"({"eos_token": "<none>"})"); }).find("eos_token"),
            std::string::npos);
  EXPECT_NE(error_of([] { from_tree(chat_tree(), R"({"eos_token": 3})"); }).find("eos_token"), std::string::npos);
  EXPECT_NE(error_of([] { from_tree(chat_tree(), R"({"eos_token": )"); }), "");
}

TEST(Tokenizer, FolderWithItsFiles) {
  const ScratchFolder scratch;
  const fs::path folder = scratch / "tokenizer";
  fs::create_directories(folder);
  const std::string tokenizer_json = chat_tree().dump(1) + "\n";
  write_file_atomic((folder / "tokenizer.json").string(), tokenizer_json);
  write_file_atomic((folder / "tokenizer_config.json").string(), R"({"chat_template": "old", "pad_token": "<think>"})");
  write_file_atomic((folder / "special_tokens_map.json").string(), R"({"eos_token": "<|end|>", "pad_token": "x"})");
  write_file_atomic((folder / "chat_template.jinja").string(), "new");
  for (const fs::path& path : {folder, folder / "tokenizer.json"}) {
    const Tokenizer tokenizer = Tokenizer::load(path.string());
    EXPECT_EQ(tokenizer.eos_id(), 700);
    EXPECT_EQ(tokenizer.chat_template(), "new");
    EXPECT_EQ(tokenizer.template_defaults().at("pad_token").as_string(), "<think>");
    const auto files = tokenizer.files();
    ASSERT_EQ(files.size(), 4u);
    EXPECT_EQ(files[0].name, "tokenizer.json");
    EXPECT_EQ(files[0].bytes, tokenizer_json);
    EXPECT_EQ(files[3].name, "chat_template.jinja");
  }
  fs::remove_all(folder);
  EXPECT_NE(error_of([&] { Tokenizer::load(folder.string()); }), "");
  fs::create_directories(folder);
  EXPECT_NE(error_of([&] { Tokenizer::load(folder.string()); }).find("tokenizer.json"), std::string::npos);
}

TEST(Tokenizer, LongWordsAndRunsTakeLinearTime) {
  // Anything quadratic on 1 MB takes minutes here and runs into the time limit of the tests.
  const Tokenizer tokenizer = from_tree(base_tree());
  const std::size_t size = 1'000'000;
  const std::string texts[] = {std::string(size, 'a'), std::string(size, ' ') + "x", std::string(size, '\n') + "x",
                               std::string(size, '1'), std::string(size, '\0'),      std::string(size, '\xFF')};
  for (const std::string& text : texts) EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), replace_invalid_utf8(text));
}

TEST(Tokenizer, RunsOfMarksAreNormalizedInLinearTime) {
  Json tree = base_tree();
  tree["normalizer"] = Json::Object{{"type", "NFC"}};
  const Tokenizer tokenizer = from_tree(tree);
  std::string text = "a";
  std::string below = "\u1EA1";  // a and the first dot below
  std::string above;
  for (int i = 0; i < 250'000; ++i) {
    text += "\u0301\u0323";
    if (i > 0) below += "\u0323";
    above += "\u0301";
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), below + above);
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer tokenizer = from_tree(chat_tree());
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 500; ++i)
    texts.push_back("word" + std::to_string(i) + " and some <think> text " + std::to_string(i * i));
  for (const std::string& text : texts) expected.push_back(from_tree(chat_tree()).encode(text));
  std::vector<std::vector<Ids>> got(4);
  std::vector<std::thread> threads;
  for (auto& rows : got) {
    threads.emplace_back([&] {
      for (const std::string& text : texts) rows.push_back(tokenizer.encode(text));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& rows : got) EXPECT_EQ(rows, expected);
}

}  // namespace
}  // namespace grpo::test
