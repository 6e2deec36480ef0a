#include <gtest/gtest.h>

#include <cmath>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::entry;
using test::error_of;
using test::judge;
using test::reward_set;

double score_of(const std::string& text, const std::string& params = "{}", std::vector<std::int32_t> ids = {}) {
  RewardSet set = reward_set({entry("repetition", "", parse_yaml(params))});
  auto made = data(text);
  made->token_ids = std::move(ids);
  return judge(set, made).score;
}

TEST(Repetition, CountsDistinctNgrams) {
  EXPECT_EQ(score_of("one two three four"), 0);                 // 2 of 2
  EXPECT_EQ(score_of("a b c a b c"), -0.25);                    // abc bca cab abc: 3 of 4
  EXPECT_EQ(score_of("no no no no no no"), -0.75);              // 1 of 4
  EXPECT_EQ(score_of("No nO\tno\n NO no no"), -0.75);           // case and space do not matter
  EXPECT_EQ(score_of("a b a b", "{ngram_size: 2}"), -1.0 / 3);  // ab ba ab: 2 of 3
  EXPECT_EQ(score_of("a b a b", "{ngram_size: 1, max_penalty: -0.5}"), -0.25);
}

TEST(Repetition, EverySizeOfNgram) {
  // 70 words of which the last 5 repeat the first 5: 6 - n windows of n <= 5 words come twice.
  std::string text;
  for (int i = 0; i < 70; ++i) text += "w" + std::to_string(i % 65) + " ";
  for (int n = 1; n <= 64; ++n) {
    const int total = 70 - n + 1, repeated = n <= 5 ? 5 - n + 1 : 0;
    EXPECT_DOUBLE_EQ(score_of(text, "{ngram_size: " + std::to_string(n) + "}"), -static_cast<double>(repeated) / total)
        << n;
  }
}

TEST(Repetition, TooShortIsNoRepetition) {
  EXPECT_EQ(score_of(""), 0);
  EXPECT_EQ(score_of("no no"), 0);
  EXPECT_EQ(score_of("no no", "{ngram_size: 2}"), 0);
}

TEST(Repetition, CharactersWhereThereAreNoSpaces) {
  EXPECT_EQ(score_of("春夏秋冬"), 0);
  EXPECT_EQ(score_of("春夏秋春夏秋"), -0.25);                          // as "a b c a b c"
  EXPECT_EQ(score_of("はいはい", "{ngram_size: 2}"), -1.0 / 3);        // as "a b a b"
  EXPECT_EQ(score_of("x春x春", "{ngram_size: 2}"), -1.0 / 3);          // Latin runs stay words
  EXPECT_EQ(score_of("하나 하나 하나", "{ngram_size: 1}"), -2.0 / 3);  // Hangul has spaces
}

TEST(Repetition, ZeroWidthCharactersHideNothing) { EXPECT_EQ(score_of("no n\u200Bo no\u200B no no \uFEFFno"), -0.75); }

TEST(Repetition, OfTokens) {
  EXPECT_EQ(score_of("x", "{unit: tokens, ngram_size: 2}", {1, 2, 1, 2}), -1.0 / 3);
  EXPECT_TRUE(std::isnan(score_of("a a a a", "{unit: tokens}")));
}

TEST(Repetition, BadBytesAndLongTextAreFine) {
  EXPECT_EQ(score_of("\xFF \xFF \xFF \xFF", "{ngram_size: 1}"), -0.75);
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "ab ";
  EXPECT_DOUBLE_EQ(score_of(text, "{ngram_size: 64}"), -(1 - 1.0 / (100000 - 63)));
}

TEST(Repetition, ParamsAreChecked) {
  auto error = [](const std::string& params) {
    return error_of([&] { reward_set({entry("repetition", "", parse_yaml(params, "run.yaml"))}); });
  };
  EXPECT_EQ(error("{max_penalty: 1}"),
            "run.yaml:1:15: rewards.repetition.params.max_penalty: expected a number <= 0, got 1");
  EXPECT_EQ(error("{ngram_size: 0}"),
            "run.yaml:1:14: rewards.repetition.params.ngram_size: expected an integer >= 1 and <= 64, got 0");
  EXPECT_EQ(error("{unit: word}"),
            "run.yaml:1:8: rewards.repetition.params.unit: expected words or tokens, got \"word\"");
  EXPECT_NE(error("{ngram: 3}").find("unknown key"), std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
