// Cutting texts into words. Expected pieces are those of the Rust library's pre_tokenizers.Split.
#include <gtest/gtest.h>

#include "tests/text/tokenizer_fixture.h"
#include "text/pretokenize.h"
#include "text/pretokenize_unicode.h"

namespace grpo::test {
namespace {

using Words = std::vector<std::string>;

Words words_of(const Pretokenizer& pretokenizer, const std::string& text) {
  Words out;
  pretokenizer.words(text, [&](const Pretokenizer::Word& word) { out.emplace_back(word.bytes); });
  return out;
}

Words split(Pretokenizer::Split step, const std::string& text) {
  Pretokenizer pretokenizer;
  pretokenizer.add(std::move(step));
  pretokenizer.set({.add_prefix_space = false, .use_regex = false});
  return words_of(pretokenizer, text);
}

TEST(TokenizerWords, RegularExpressionsAsOnigurumaHasThem) {
  struct Case {
    const char* pattern;
    const char* text;
    Words words;
  };
  const Case cases[] = {
      {R"x(^a)x", "a\na\nb", {"a", "\n", "a", "\nb"}},
      {R"x(a$)x", "a\na\nb", {"a", "\n", "a", "\nb"}},
      {R"x(\Aa)x", "a\na", {"a", "\na"}},
      {R"x(a\z)x", "a\na", {"a\n", "a"}},
      {R"x(\s+$)x", "a  b \n c ", {"a  b", " ", "\n c", " "}},
      {R"x(x*)x", "axxb", {"a", "xx", "b"}},
      {R"x((?=b))x", "aabab", {"aa", "ba", "b"}},
      {R"x(a{,2})x", "aaaab", {"aa", "aa", "b"}},
      {R"x(a{2})x", "aaaaab", {"aa", "aa", "ab"}},
      {R"x(a{1)x", "a{1b", {"a{1", "b"}},
      {R"x(a++|b?+)x", "aabc", {"aa", "b", "c"}},
      {R"x([\s]+)x", "a\u180E b\u3000c", {"a\u180E", " ", "b", "\u3000", "c"}},
      {R"x(\s+)x", "a \u180E\u0085\u2028b", {"a", " ", "\u180E", "\u0085\u2028", "b"}},
      {R"x([^\S\n]+)x", "a \n b", {"a", " ", "\n", " ", "b"}},
      {R"x(\S+)x", "a\u180E b", {"a\u180E", " ", "b"}},
      {R"x(\d+)x", "a12\u0663\u00BD", {"a", "12\u0663", "\u00BD"}},
      {R"x(\x61|\u0062|\x{63})x", "abcd", {"a", "b", "c", "d"}},
      {R"x([a-]+)x", "a-b", {"a-", "b"}},
      {R"x([\-\]\\a]+)x", "a-]\\b", {"a-]\\", "b"}},
      {R"x(.)x", "a\nb", {"a", "\n", "b"}},
      {R"x((?i:s|k)+)x", "s\u017FK\u212Ax", {"s\u017FK\u212A", "x"}},
      {R"x(\p{Han}+)x", "\u6F22\u5B57\U00031350\u304B\u306A", {"\u6F22\u5B57\U00031350", "\u304B\u306A"}},
      {R"x(\p{Hiragana}+)x", "\u304B\u306A\u3099\u30AB\u30FC", {"\u304B\u306A", "\u3099\u30AB\u30FC"}},
      {R"x(\p{^L})x", "a1", {"a", "1"}},
      {R"x(\P{L}+)x", "a1 b", {"a", "1 ", "b"}},
      {R"x(\p{L}+)x", "\U0001E4D0a1", {"\U0001E4D0a", "1"}},
      {R"x(\p{Mc}+)x", "\U0001171E\U00011720x", {"\U0001171E\U00011720", "x"}},
      {R"x((?<=a)b)x", "abb", {"a", "b", "b"}},
      {R"x((?<!a)b)x", "abb", {"ab", "b"}},
      {R"x((?>a+)b)x", "aabab", {"aab", "ab"}},
      {R"x(\v)x", "a\vb\n", {"a", "\v", "b\n"}},
      {R"x('(?:s|t)(ab)?)x", "'sab't", {"'sab", "'t"}},
  };
  for (const auto& [pattern, text, words] : cases) {
    EXPECT_EQ(split({Regex(pattern, "test")}, text), words) << pattern << " on " << text;
  }
}

TEST(TokenizerWords, Behaviors) {
  const auto with = [](SplitBehavior behavior, const char* text, bool invert = false) {
    return split({Regex("b", "test"), behavior, invert}, text);
  };
  EXPECT_EQ(with(SplitBehavior::Isolated, "abcb"), (Words{"a", "b", "c", "b"}));
  EXPECT_EQ(with(SplitBehavior::Removed, "abcb"), (Words{"a", "c"}));
  EXPECT_EQ(with(SplitBehavior::Removed, "bab", true), (Words{"b", "b"}));
  EXPECT_EQ(with(SplitBehavior::MergedWithPrevious, "abcb"), (Words{"ab", "cb"}));
  EXPECT_EQ(with(SplitBehavior::MergedWithPrevious, "bbac"), (Words{"b", "b", "ac"}));
  EXPECT_EQ(with(SplitBehavior::MergedWithNext, "abcb"), (Words{"a", "bc", "b"}));
  EXPECT_EQ(with(SplitBehavior::MergedWithNext, "abbc"), (Words{"a", "b", "bc"}));
  EXPECT_EQ(with(SplitBehavior::Contiguous, "abbcb"), (Words{"a", "bb", "c", "b"}));
  EXPECT_EQ(split({std::string("."), SplitBehavior::Isolated}, "a.b"), (Words{"a", ".", "b"}));
}

TEST(TokenizerWords, DigitsAndPrefixSpace) {
  Pretokenizer pretokenizer;
  pretokenizer.add(Pretokenizer::Digits{.individual = true});
  pretokenizer.set({.add_prefix_space = true, .use_regex = true});
  EXPECT_EQ(words_of(pretokenizer, "ab1\u0663\u00BD\U0001E4F0\U00011DE0 c's"),
            (Words{" ab", " 1", " \u0663", " \u00BD", " \U0001E4F0", " \U00011DE0", " c", "'s"}));
  Pretokenizer runs;
  runs.add(Pretokenizer::Digits{.individual = false});
  runs.set({.add_prefix_space = false, .use_regex = false});
  EXPECT_EQ(words_of(runs, "ab12 3"), (Words{"ab", "12", " ", "3"}));
  EXPECT_EQ(words_of(runs, ""), Words{});
}

TEST(TokenizerWords, NormalizationOfTheLibrarysAge) {
  const std::pair<const char*, const char*> cases[] = {
      {"e\u0301", "\u00E9"},
      {"plain \u00E9", "plain \u00E9"},
      {"a\u0301\u0327", "\u00E1\u0327"},
      {"q\u0301\u0323", "q\u0323\u0301"},
      {"\u212B\u1E9B\u0323", "\u00C5\u1E9B\u0323"},
      {"\u1112\u1161\u11AB", "\uD55C"},
      {"\uAC00\u11A7", "\uAC00\u11A7"},                  // no final consonant
      {"\u0344", "\u0308\u0301"},                        // excluded from composition
      {"q\u0301\u0898", "q\u0301\u0898"},                // a mark of Unicode 14, unknown to the library
      {"\U00011935\U00011930", "\U00011935\U00011930"},  // a composition of Unicode 13
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(nfc(text), expected) << text;
}

TEST(TokenizerWords, NormalizationSaysWhatItRewrote) {
  std::vector<Rewrite> changes;
  const std::string text = "xe\u0301y\u4F60\u212B\u597D \uAC00 \u1112\u1161z";
  const std::string normal = nfc(text, &changes);
  EXPECT_EQ(normal, "x\u00E9y\u4F60\u00C5\u597D \uAC00 \uD558z");
  ASSERT_EQ(changes.size(), 3u);
  const char* from[] = {"e\u0301", "\u212B", "\u1112\u1161"};
  const char* to[] = {"\u00E9", "\u00C5", "\uD558"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(text.substr(changes[i].from, changes[i].to - changes[i].from), from[i]);
    EXPECT_EQ(normal.substr(changes[i].begin, changes[i].end - changes[i].begin), to[i]);
  }
}

}  // namespace
}  // namespace grpo::test
