#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <mutex>

#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {

std::string printable(std::string_view text, Newlines newlines) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control = byte < 0x20 || byte == 0x7F;
    // U+0080 to U+009F, in UTF-8 C2 80 to C2 9F, are commands to some terminals.
    const bool second_control = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if ((byte == '\n' && newlines == Newlines::Keep) || (length > 0 && !control && !second_control)) {
      out.append(text, i, length);
      i += length;
      continue;
    }
    for (std::size_t end = i + (second_control ? 2 : 1); i < end; ++i) {
      const auto escaped = static_cast<unsigned char>(text[i]);
      out += "\\x";
      out += kHex[escaped >> 4];
      out += kHex[escaped & 15];
    }
  }
  return out;
}

namespace log {
namespace {

spdlog::logger& logger() {
  // Never destroyed: other static objects may have something to say at the end of the program.
  static spdlog::logger& instance = *[] {
    auto* made = new spdlog::logger("grpo", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("[%H:%M:%S] %l: %v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return instance;
}

std::mutex terminal_mutex;  // guards the live line, and stderr while it is there
std::string live_line;
std::atomic<bool> has_live_line{false};

// Escape codes of ECMA-48 and DEC's mode 7: text at the right edge is cut, not wrapped.
void draw(const std::string& text) {
  const std::string codes = text.empty() ? "\r\x1b[K" : "\r\x1b[K\x1b[?7l" + text + "\x1b[?7h";
  std::fputs(codes.c_str(), stderr);
  std::fflush(stderr);
}

template <class Print>
void above_live_line(const Print& print) {
  const std::lock_guard lock(terminal_mutex);
  if (!live_line.empty()) draw("");
  print();
  if (!live_line.empty()) draw(live_line);
}

void write(spdlog::level::level_enum level, const std::string& message) {
  if (!logger().should_log(level)) return;
  above_live_line([&] { logger().log(level, spdlog::string_view_t(printable(message, Newlines::Keep))); });
}

}  // namespace

void set_level(Level level) {
  switch (level) {
    case Level::Info:
      logger().set_level(spdlog::level::info);
      return;
    case Level::Warn:
      logger().set_level(spdlog::level::warn);
      return;
    case Level::Error:
      logger().set_level(spdlog::level::err);
      return;
    case Level::Quiet:
      logger().set_level(spdlog::level::off);
      return;
  }
}

void info(const std::string& message) { write(spdlog::level::info, message); }
void warn(const std::string& message) { write(spdlog::level::warn, message); }
void error(const std::string& message) { write(spdlog::level::err, message); }

void line(const std::string& text) {
  above_live_line([&] {
    std::fputs((printable(text) + "\n").c_str(), stderr);
    std::fflush(stderr);
  });
}

void set_live_line(const std::string& text) {
  const std::lock_guard lock(terminal_mutex);
  if (text.empty() && live_line.empty()) return;
  live_line = printable(text);
  has_live_line = !text.empty();
  draw(live_line);
}

void leave_live_line() noexcept {
  if (has_live_line.exchange(false)) static_cast<void>(::write(STDERR_FILENO, "\n", 1) == 1);
}

}  // namespace log
}  // namespace grpo::inline GRPO_ABI
