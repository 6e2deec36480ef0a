#include "reward/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace grpo::inline GRPO_ABI {

Channel::~Channel() { ::close(descriptor_); }

Channel::State Channel::wait(short events, const Deadline& deadline) const {
  while (true) {
    int timeout = -1;
    if (deadline) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now()).count();
      if (left <= 0) return State::Late;
      timeout = static_cast<int>(std::min<std::int64_t>(left, 1'000'000));
    }
    pollfd one = {descriptor_, events, 0};
    const int ready = ::poll(&one, 1, timeout);
    if (ready > 0) return State::Fine;  // or closed, which the transfer tells
    if (ready < 0 && errno != EINTR) return State::Gone;
  }
}

Channel::State Channel::move_bytes(char* bytes, std::size_t size, bool out, const Deadline& deadline) const {
  while (size > 0) {
    const ssize_t moved = out ? ::send(descriptor_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : ::recv(descriptor_, bytes, size, MSG_DONTWAIT);
    if (moved > 0) {
      bytes += moved;
      size -= static_cast<std::size_t>(moved);
      continue;
    }
    if (moved == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return State::Gone;
    const State state = wait(out ? POLLOUT : POLLIN, deadline);
    if (state != State::Fine) return state;
  }
  return State::Fine;
}

Channel::State Channel::send(std::string_view frame, const Deadline& deadline) {
  std::uint64_t size = frame.size();
  const State state = move_bytes(reinterpret_cast<char*>(&size), sizeof size, true, deadline);
  if (state != State::Fine) return state;
  return move_bytes(const_cast<char*>(frame.data()), frame.size(), true, deadline);
}

Channel::State Channel::receive(std::string& frame, std::uint64_t most, const Deadline& deadline) {
  std::uint64_t size = 0;
  const State state = move_bytes(reinterpret_cast<char*>(&size), sizeof size, false, deadline);
  if (state != State::Fine) return state;
  if (size > most) return State::Gone;
  frame.resize(size);
  return move_bytes(frame.data(), frame.size(), false, deadline);
}

}  // namespace grpo::inline GRPO_ABI
