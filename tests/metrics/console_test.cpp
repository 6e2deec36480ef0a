// The console on a terminal: a live line that others may write above. Lines without one: sinks_test.cpp.
#include "metrics/console.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "support/terminal.h"

namespace grpo::inline GRPO_ABI {
namespace {

using grpo::testing::shown;
using grpo::testing::Terminal;

TEST(Console, SaysWhatTheRunIsAt) {
  Terminal terminal;
  Phases phases;
  const auto sink = console_sink("sums", 40, 0, phases);
  terminal.read_until("sums 0/40");
  Phase sampling(&phases, "sampling");
  sampling.progress(37, 64, "answers");
  EXPECT_TRUE(shown(terminal.read_until("sums 0/40  sampling 37/64 answers")).ends_with(" answers"));
  sink->write(1, {{"reward", 0.25}, {"loss", 0.5}});
  std::string text = terminal.read_until("sums 1/40  sampling 37/64 answers  reward 0.250  0.");
  EXPECT_NE(text.find("s/step  left "), std::string::npos);
  phases.set_reward(0.75);
  text = terminal.read_until("reward 0.750");
  EXPECT_EQ(shown(text).find('\n'), std::string::npos) << "one line all the time";
}

TEST(Console, MessagesStandAboveTheLine) {
  Terminal terminal;
  Phases phases;
  {
    const auto sink = console_sink("sums", 40, 7, phases);
    terminal.read_until("sums 7/40");
    log::warn("first\nsecond");
    terminal.read_until("second");
    sink->write(8, {{"loss", 0.5}});
    terminal.read_until("loss 0.5000");
  }
  const std::string screen = shown(terminal.read_until("left 0s\r\n"));
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < screen.size();) {
    const std::size_t end = screen.find('\n', begin);
    lines.push_back(screen.substr(begin, end - begin));
    begin = end == std::string::npos ? screen.size() : end + 1;
  }
  ASSERT_EQ(lines.size(), 3u) << screen;
  EXPECT_TRUE(lines[0].ends_with("first")) << screen;
  EXPECT_EQ(lines[1], "second");
  EXPECT_EQ(lines[2].rfind("sums 8/40  loss 0.5000  left ", 0), 0u) << screen;  // what stays is the last step
  EXPECT_TRUE(screen.ends_with('\n'));
}

TEST(Console, EndsCleanlyByAnException) {
  Terminal terminal;
  Phases phases;
  try {
    const auto sink = console_sink("sums", 40, 0, phases);
    terminal.read_until("sums 0/40");
    throw Error("stopped");
  } catch (const Error&) {
    log::line("after");
  }
  EXPECT_EQ(shown(terminal.read_until("after\r\n")), "after\n");
}

TEST(Console, ASignalHandlerLeavesTheLine) {
  Terminal terminal;
  log::set_live_line("sums 3/40");
  log::leave_live_line();
  log::leave_live_line();  // there is none any more
  EXPECT_EQ(shown(terminal.read_until("\n")), "sums 3/40\n");
  log::set_live_line("");
}

TEST(Console, ControlBytesInNamesAreEscaped) {
  Terminal terminal;
  Phases phases;
  const auto sink = console_sink("su\x1b[2Jms\n", 40, 0, phases);
  EXPECT_NE(terminal.read_until("0/40").find("su\\x1b[2Jms\\x0a 0/40"), std::string::npos);
}

// For ThreadSanitizer: the console's own thread, the run, and others that have something to say.
TEST(Console, ManyThreadsSpeakAtOnce) {
  Terminal terminal;
  std::thread reads([&] { terminal.read_until("the end"); });
  {
    Phases phases;
    const auto sink = console_sink("sums", 200, 0, phases);
    std::thread speaks([] {
      for (int i = 0; i < 50; ++i) log::info("a reward says " + std::to_string(i));
    });
    for (int step = 1; step <= 200; ++step) {
      Phase sampling(&phases, "sampling");
      sampling.progress(step, 200, "answers");
      phases.set_reward(step);
      sink->write(step, {{"reward", step}});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    speaks.join();
  }
  log::line("the end");
  reads.join();
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
