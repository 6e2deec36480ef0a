// A terminal in place of stderr.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace grpo::testing {

class Terminal {
 public:
  Terminal() {
    int slave = -1;
    if (openpty(&master_, &slave, nullptr, nullptr, nullptr) != 0) throw std::runtime_error("no pseudo-terminal");
    std::fflush(stderr);
    stderr_ = ::dup(STDERR_FILENO);
    ::dup2(slave, STDERR_FILENO);
    ::close(slave);
    ::setenv("TERM", "xterm", 1);
  }
  ~Terminal() {
    restore();
    ::close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // What has been written, until `wanted` is in it or ten seconds have passed.
  std::string read_until(const std::string& wanted) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::seconds(10);
    while (text_.find(wanted) == std::string::npos && Clock::now() < end) {
      pollfd ready{master_, POLLIN, 0};
      char buffer[4096];
      if (::poll(&ready, 1, 50) <= 0) continue;
      const ssize_t count = ::read(master_, buffer, sizeof buffer);
      if (count > 0) text_.append(buffer, static_cast<std::size_t>(count));
    }
    return text_;
  }
  void restore() {
    if (stderr_ < 0) return;
    std::fflush(stderr);
    ::dup2(stderr_, STDERR_FILENO);
    ::close(stderr_);
    stderr_ = -1;
  }

 private:
  int master_ = -1, stderr_ = -1;
  std::string text_;
};

// What a person sees in the end: lines, of which "\r\x1b[K" clears the last; other codes are left out.
inline std::string shown(const std::string& text) {
  std::string screen;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 4, "\r\x1b[K") == 0) {
      screen.resize(screen.rfind('\n') + 1);  // npos + 1 is 0
      i += 3;
    } else if (text[i] == '\x1b') {
      while (i < text.size() && !(text[i] >= 'a' && text[i] <= 'z')) ++i;
    } else if (text[i] != '\r') {
      screen += text[i];
    }
  }
  return screen;
}

}  // namespace grpo::testing
