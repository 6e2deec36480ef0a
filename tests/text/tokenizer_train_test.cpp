// Tokenizer::train against a plain implementation in Python, and the Rust library's ids for what it made.
#include <gtest/gtest.h>

#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

std::vector<std::string> strings_of(const Json& list) {
  std::vector<std::string> out;
  for (const Json& item : list.as_list()) out.push_back(item.as_string());
  return out;
}

TEST(TokenizerTrain, EqualsAPlainImplementation) {
  const Json jobs = golden("trained.json");
  ASSERT_EQ(jobs.size(), 3u);
  for (const Json& job : jobs.as_list()) {
    const Json& given = job.at("options");
    Tokenizer::TrainOptions options;
    options.vocab_size = static_cast<std::int32_t>(given.at("vocab_size").as_int());
    options.special_tokens = strings_of(given.at("special"));
    options.atomic_tokens = strings_of(given.at("atomic"));
    options.split_digits = given.at("split_digits").as_bool();
    options.alphabet = given.at("alphabet").as_string();
    const std::string text = Tokenizer::train(strings_of(given.at("texts")), options);
    const Json tree = parse_json(text);
    EXPECT_EQ(tree.at("model").at("merges"), job.at("merges"));
    const auto& vocab = tree.at("model").at("vocab").as_object();
    ASSERT_EQ(vocab.size(), job.at("vocab").size());
    for (std::size_t id = 0; id < vocab.size(); ++id) {
      EXPECT_EQ(vocab[id].first, job.at("vocab").as_list()[id].as_string());
      EXPECT_EQ(vocab[id].second.as_int(), static_cast<std::int64_t>(id));
    }
    const Tokenizer tokenizer = Tokenizer::from_json(text);
    for (std::size_t i = 0; i < job.at("probes").size(); ++i) {
      const std::string& probe = job.at("probes").as_list()[i].as_string();
      EXPECT_EQ(tokenizer.encode(probe), ids_of(job.at("ids").as_list()[i])) << probe;
    }
  }
}

TEST(TokenizerTrain, TokensComeInTheirOrder) {
  Tokenizer::TrainOptions options;
  options.vocab_size = 8;
  options.special_tokens = {"<pad>", "<end>"};
  options.atomic_tokens = {"<think>"};
  options.alphabet = "+01=";
  const std::vector<std::string> texts = {"<think>1+0=1<end>", "0+0=0", "=1=1"};
  const Tokenizer tokenizer = Tokenizer::from_json(Tokenizer::train(texts, options));
  EXPECT_EQ(tokenizer.vocab_size(), 7);  // digits stand alone: no pair to merge
  EXPECT_EQ(tokenizer.encode("<think>1+0=1<end>"), (std::vector<std::int32_t>{2, 5, 3, 4, 6, 5, 1}));
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(2));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("0<think>1"), {.skip_special = true}), "0<think>1");
}

TEST(TokenizerTrain, AMergeNeverTakesTheTextOfAnotherToken) {
  // " a" would be written as this atomic token is.
  Tokenizer::TrainOptions options;
  options.vocab_size = 5;
  options.atomic_tokens = {"\u0120a"};
  options.alphabet = " ab";
  const std::vector<std::string> texts = {"b a a a"};
  const Tokenizer tokenizer = Tokenizer::from_json(Tokenizer::train(texts, options));
  EXPECT_EQ(tokenizer.vocab_size(), 4);
  EXPECT_EQ(tokenizer.encode(" a"), (std::vector<std::int32_t>{1, 2}));
}

TEST(TokenizerTrain, RefusesWhatCannotBe) {
  const std::vector<std::string> texts = {"ab c"};
  auto message = [&](std::int32_t vocab_size, const std::vector<std::string>& special,
                     const std::vector<std::string>& atomic, const std::string& alphabet) {
    Tokenizer::TrainOptions options;
    options.vocab_size = vocab_size;
    options.special_tokens = special;
    options.atomic_tokens = atomic;
    options.alphabet = alphabet;
    return error_of([&] { Tokenizer::train(texts, options); });
  };
  EXPECT_EQ(message(300, {"<a>"}, {"<b>"}, ""), "");
  EXPECT_NE(message(255, {}, {}, "").find("vocab_size: expected at least 256"), std::string::npos);
  EXPECT_NE(message(2147483647, {}, {}, "").find("vocab_size"), std::string::npos);
  EXPECT_NE(message(300, {"<a>", "<a>"}, {}, "").find("twice"), std::string::npos);
  EXPECT_NE(message(300, {""}, {}, "").find("not empty"), std::string::npos);
  EXPECT_NE(message(300, {}, {"a"}, "").find("twice"), std::string::npos);
  EXPECT_NE(message(300, {}, {"\xFF"}, "").find("valid UTF-8"), std::string::npos);
  EXPECT_NE(message(300, {}, {}, "abc").find("byte 32"), std::string::npos);
}

}  // namespace
}  // namespace grpo::test
