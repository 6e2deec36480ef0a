#include "pipeline/words.h"

#include <gtest/gtest.h>

namespace grpo::inline GRPO_ABI {
namespace {

std::string words(std::string_view text) {
  std::string joined;
  for (const std::string& word : words_of(text)) joined += (joined.empty() ? "" : "|") + word;
  return joined;
}

TEST(Words, AreFreeOfCasePunctuationAndSpace) {
  EXPECT_EQ(words("  Natalia sold\tclips,\n\nto 48 of her well-known FRIENDS!"),
            "natalia|sold|clips|to|48|of|her|well|known|friends");
  EXPECT_EQ(words("\u00dcber \u00c9t\u00e9 STRASSE stra\u00dfe"), "\u00fcber|\u00e9t\u00e9|strasse|strasse");
  EXPECT_EQ(words("e\u0301te\u0301"), words("\u00c9T\u00c9"));  // combining marks
  EXPECT_EQ(words("\uff21\uff22\uff11\uff12"), "ab12");         // full-width forms
  EXPECT_EQ(words("don\u2019t \u201cstop\u201d"), "don|t|stop");
  EXPECT_EQ(words("a\u00a0b\u3000c\u200bd"), "a|b|cd");
  EXPECT_EQ(words("\u0663\u0664 is 34"), "\u0663\u0664|is|34");  // digits of other scripts
  EXPECT_EQ(words("?! ... $ \\ |"), "");
  EXPECT_EQ(words(""), "");
}

TEST(Words, TellSumsApart) {
  EXPECT_EQ(words("3+4="), "3|+|4|=");
  EXPECT_EQ(words("What is 3 - 4?"), "what|is|3|-|4");
  EXPECT_EQ(words("3\u22124"), words("3-4"));
  EXPECT_EQ(words("$3 \\times 4$"), words("3\u00d74"));
  EXPECT_EQ(words("x - y = -2, 5% <b>"), "x|y|-|2|5|%|b");
  EXPECT_EQ(words("\u00bd"), "1|/|2");
  EXPECT_EQ(words("**48** -- 3 => 2 <= 1"), "48|3|=|>|2|<|=|1");
}

TEST(Words, OfChineseAndJapaneseAreCharacters) {
  EXPECT_EQ(words("\u8ba1\u7b973\u52a0x\u3002"), "\u8ba1|\u7b97|3|\u52a0|x");
  EXPECT_EQ(words("\u30ab\u306a"), "\u30ab|\u306a");
  EXPECT_EQ(words("\ud55c\uad6d \uc5b4"), "\ud55c\uad6d|\uc5b4");  // Korean has spaces
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
