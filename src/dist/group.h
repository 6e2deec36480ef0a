// The protocol under every collective: ranks first say what they call, then bytes move, and no wait lasts for ever.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dist/rank_status.h"
#include "dist/transport.h"

namespace grpo::inline GRPO_ABI {

enum class Operation : std::uint32_t {
  AllReduceFloat,
  AllReduceDouble,
  ReduceScatter,
  AllGather,
  AllGatherTexts,
  AllToAll,
  Broadcast,
  Barrier,
  Split,
  End,  // of the program
};

// What a rank calls. Ranks must agree in all of it, but in `bytes` where an operation lets them differ.
struct Call {
  Operation operation;
  std::uint32_t detail = 0;  // the Reduce or the root
  std::uint64_t bytes = 0;
  std::uint64_t counts = 0;  // checksum of the sizes of all ranks' pieces
};

// Why a rank cannot go on, as the others hear it.
struct Failure {
  ErrorKind kind;
  int rank;  // the first that failed, in the numbers of the whole
  std::string message;
  Error error() const { return Error("rank " + std::to_string(rank) + ": " + message, kind); }
};

class Group;

// What a communicator shares with the groups split from it.
struct World {
  explicit World(std::unique_ptr<Communicator::Transport> transport_in);

  enum class Wait { Busy, Idle };  // Idle: the others may compute for long, so this rank leaves them the processor
  // Until `done()`. When the deadline expires the rank says where it is, and all ranks end.
  void wait(const std::function<bool()>& done, Wait how);
  void fail(const Error& error) noexcept;

  std::unique_ptr<Communicator::Transport> transport;
  RankStatus status;
  double deadline = 1800;
  int next_channel = 0;
  std::vector<Group*> groups;  // that live
  std::optional<Failure> failure;
  bool abandoned = false;  // a group's others may wait for this rank and cannot be told

 private:
  void expire();
  bool crowded_;  // more ranks than processors: one that waits must not spin
};

class Group {
 public:
  using Send = Communicator::Transport::Send;
  using Receive = Communicator::Transport::Receive;

  // `members`: their ranks in the world, in the group's order.
  Group(std::shared_ptr<World> world, std::vector<int> members, int channel);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(members_.size()); }
  World& world() { return *world_; }
  const std::shared_ptr<World>& shared_world() const { return world_; }
  const std::vector<int>& members() const { return members_; }

  // Begins a collective; an Error on every rank where calls differ or a rank has failed.
  void begin(const Call& call);
  std::uint64_t bytes_of(int rank) const { return headers_[static_cast<std::size_t>(rank)].call.bytes; }
  // What moves with the next move(). Parts without bytes, and those for this rank itself, are left out.
  void send(int rank, const std::byte* data, std::size_t bytes);
  void receive(int rank, std::byte* data, std::size_t bytes);
  void move();
  void finish();
  // Instead of finish(), for an error that every rank finds.
  [[noreturn]] void lose(const Error& error);

  // Memory for what other ranks send; kept between calls.
  std::byte* scratch(std::size_t bytes);

  // The last collective of the program: waits until every rank has come to its end. False: some may never come.
  bool end() noexcept;

 private:
  friend struct World;
  struct Header {
    Call call;
    std::uint32_t failed;
    ErrorKind kind;
    std::int32_t rank;
    std::uint32_t message_bytes;
  };
  enum class State { Ready, Moving, Lost };  // Lost: every rank has an Error
  enum class Telling { Headers, Message, Done };

  void start();
  void wait(World::Wait how);
  void start_headers(const Header& mine);
  int first_failed() const;  // -1: none
  void start_message(int teller);
  Failure failure_of(int teller) const;
  void mark_lost(const Error& error);
  std::string disagreement() const;  // "" if all call the same

  void start_telling(const Failure& failure);
  bool told();  // never waits

  std::shared_ptr<World> world_;
  std::vector<int> members_;
  int rank_ = 0;
  int channel_number_;
  std::unique_ptr<Communicator::Transport::Channel> channel_;
  State state_ = State::Ready;
  std::optional<Error> error_;
  Telling telling_ = Telling::Done;
  std::uint64_t number_ = 0;  // of the collective
  std::vector<Header> headers_;
  std::string message_;
  std::vector<Send> sends_;
  std::vector<Receive> receives_;
  std::vector<std::byte> scratch_;
};

}  // namespace grpo::inline GRPO_ABI
