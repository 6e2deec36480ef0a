#include "reward/text_measures.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>

namespace grpo::inline GRPO_ABI {
namespace {

TEST(TextMeasures, ReflectiveWordsAreWholeWordsInAnyCase) {
  EXPECT_EQ(count_reflective_words(""), 0);
  EXPECT_EQ(count_reflective_words("Wait, let me check: 3+4=7. WAIT"), 3);
  EXPECT_EQ(count_reflective_words("wait mistake however but retry error verify wrong evaluate check"), 10);
  EXPECT_EQ(count_reflective_words("waiter butter checks wait_for error2 rewrong"), 0);
  EXPECT_EQ(count_reflective_words("re-check (wrong)"), 2);
  EXPECT_EQ(count_reflective_words("等一下，这不对。但是but等等等"), 5);  // 等等 once, one 等 is left
  EXPECT_EQ(count_reflective_words("等"), 0);
  EXPECT_EQ(count_reflective_words(std::string("\xE7\xAD\xFF wait\0but", 12)), 2);
}

TEST(TextMeasures, RepeatedShareIsThatOfTheRepetitionReward) {
  EXPECT_EQ(repeated_share("one two three four"), 0);
  EXPECT_EQ(repeated_share("a b c a b c"), 0.25);
  EXPECT_EQ(repeated_share("no No NO no no no"), 0.75);
  EXPECT_EQ(repeated_share("so so"), 0);
  EXPECT_EQ(repeated_share(""), 0);
}

TEST(TextMeasures, MixedShareCountsWordsOutsideTheMainScript) {
  EXPECT_EQ(mixed_share("First we add three and four"), 0);
  EXPECT_EQ(mixed_share("First we add три and four"), 1.0 / 6);
  EXPECT_EQ(mixed_share("我们先把它加起来 then we are done"), 4.0 / 12);
  EXPECT_EQ(mixed_share("3+4=7"), 0);
  EXPECT_EQ(mixed_share(""), 0);
}

// Twice the text takes about twice the time; a quadratic measure would take four times as long.
TEST(TextMeasures, TimeIsLinear) {
  const auto cpu_seconds = [] {  // of this thread: others may take the cores
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  const auto seconds = [&](std::size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += "wait 等等 но really_so ";
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
      const double start = cpu_seconds();
      EXPECT_GT(static_cast<double>(count_reflective_words(text)) + repeated_share(text) + mixed_share(text), 0);
      best = std::min(best, cpu_seconds() - start);
    }
    return best;
  };
  EXPECT_LT(seconds(1 << 20), 3 * 16 * seconds(1 << 16));
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
