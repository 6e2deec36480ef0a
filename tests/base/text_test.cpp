// Small helpers for messages: printable text and the name that was probably meant.
#include <gtest/gtest.h>

#include "base/log.h"
#include "base/nearest.h"

namespace grpo::inline GRPO_ABI {
namespace {

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("plain \xC3\xA9 \xF0\x9F\x98\x80"), "plain \xC3\xA9 \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("\x1B[2J\r\n\t\x7F"), "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(printable("a\xFF\xC3z"), "a\\xff\\xc3z");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m");  // U+009B, which starts a command as ESC [ does
  EXPECT_EQ(printable("\xC2\xA0"), "\xC2\xA0");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("a\nb", Newlines::Keep), "a\nb");
}

TEST(Log, LevelDecidesWhatIsWritten) {
  testing::internal::CaptureStderr();
  log::info("shown\x1B");
  log::set_level(log::Level::Error);
  log::warn("hidden");
  log::error("seen");
  log::set_level(log::Level::Quiet);
  log::error("never");
  log::set_level(log::Level::Info);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("info: shown\\x1b\n"), std::string::npos) << text;
  EXPECT_NE(text.find("error: seen\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("hidden"), std::string::npos);
  EXPECT_EQ(text.find("never"), std::string::npos);
}

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("ab", "ba"), 1);
  EXPECT_EQ(edit_distance("same", "same"), 0);
}

TEST(Nearest, FindsTheProbableName) {
  const std::vector<std::string> names = {"learning_rate", "beta", "epsilon", "epsilon_high", "max_steps"};
  EXPECT_EQ(nearest("lerning_rate", names), "learning_rate");
  EXPECT_EQ(nearest("learning_raet", names), "learning_rate");
  EXPECT_EQ(nearest("bata", names), "beta");
  EXPECT_EQ(nearest("bxxa", names), "");  // two edits are too many for four letters
  EXPECT_EQ(nearest("eps", names), "epsilon");
  EXPECT_EQ(nearest("epsilon_higher", names), "epsilon_high");
  EXPECT_EQ(nearest("nothing", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), names), "");
  EXPECT_EQ(nearest_hint("bata", names), " (did you mean \"beta\"?)");
  EXPECT_EQ(nearest_hint("zzz", names), "");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
