// One end of the socket between grpo and a reward worker. A frame is its length in eight bytes and then its bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace grpo::inline GRPO_ABI {

class Channel {
 public:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // none: wait for ever
  enum class State {
    Fine,
    Late,
    Gone
  };  // Late: the deadline has passed; Gone: the other end is closed or broke the rules

  explicit Channel(int descriptor) : descriptor_(descriptor) {}  // and closes it
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  State send(std::string_view frame, const Deadline& deadline = {});
  // A longer frame than `most` bytes breaks the rules.
  State receive(std::string& frame, std::uint64_t most, const Deadline& deadline = {});

 private:
  State wait(short events, const Deadline& deadline) const;
  State move_bytes(char* bytes, std::size_t size, bool out, const Deadline& deadline) const;

  int descriptor_;
};

}  // namespace grpo::inline GRPO_ABI
