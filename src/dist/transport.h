// How bytes get to other ranks: one implementation for each way. Everything else is in Group.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

struct Communicator::Transport {
  struct Send {
    int peer;
    const std::byte* data;
    std::size_t bytes;
  };
  struct Receive {
    int peer;
    std::byte* data;
    std::size_t bytes;
  };
  static constexpr std::size_t kMaxPart = std::size_t{16} << 20;  // bytes of one Send or Receive

  // A stream of messages between every two ranks, in which they arrive in order. Channels do not wait for each other.
  class Channel {
   public:
    virtual ~Channel() = default;
    // Begins to move bytes to and from other ranks. The peer's part has the same size, from 1 byte to kMaxPart. The
    // memory is left alone until done(), and nothing is started until then.
    virtual void start(std::span<const Send> sends, std::span<const Receive> receives) = 0;
    // Whether all has moved. Never waits.
    virtual bool done() = 0;
  };

  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_size() const = 0;
  // Ranks that open a channel of the same number are connected.
  virtual std::unique_ptr<Channel> open(int number) = 0;
  // Ends all ranks.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

std::unique_ptr<Communicator::Transport> single_transport();

}  // namespace grpo::inline GRPO_ABI
