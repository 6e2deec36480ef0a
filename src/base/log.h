// Messages for people, on stderr. Thread-safe.
//
// Text that came from a model or a file goes through printable() first where it should stand on one line; every
// message is made safe for a terminal in any case.
#pragma once

#include <string>
#include <string_view>

namespace grpo::inline GRPO_ABI {

enum class Newlines { Escape, Keep };

// `text` with control bytes, C1 controls and invalid UTF-8 written as \xNN. Tabs count as control bytes.
std::string printable(std::string_view text, Newlines newlines = Newlines::Escape);

namespace log {

enum class Level { Info, Warn, Error, Quiet };  // Quiet: nothing at all

void set_level(Level level);  // the least that is written; Info at the start
void info(const std::string& message);
void warn(const std::string& message);
void error(const std::string& message);
// A line as it is, whatever the level.
void line(const std::string& text);

// The line below all messages of a terminal: taken away before a message and drawn again after it, cut at the
// terminal's width. Without newlines; "" takes it away.
void set_live_line(const std::string& text);
// For a signal handler that ends the process: what comes next starts on a new line.
void leave_live_line() noexcept;

}  // namespace log
}  // namespace grpo::inline GRPO_ABI
