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

}  // namespace log
}  // namespace grpo::inline GRPO_ABI
