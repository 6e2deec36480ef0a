// Processes that train together. One process is a real communicator, not a special case.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

class Group;  // src/dist/group.h

enum class Reduce { Sum, Min, Max };  // Min and Max of a NaN are NaN

// Collectives over `size()` ranks; every rank makes the same calls in the same order with matching sizes, and a call
// that does not match the others' is an Error on every rank. Reductions add in order of rank, so all ranks get the same
// bits and a repeated run gets them again. Movable handle; used by one thread.
//
// An argument that is wrong by itself is an Error of this rank, which the others learn of by `fail`. After an Error
// that came out of a collective every later call throws it again.
class GRPO_API Communicator {
 public:
  // The launcher's ranks (mpirun, Slurm, torchrun), or one. A launcher this build cannot serve is an Error.
  static Communicator from_environment();
  static Communicator single();

  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  ~Communicator();

  int rank() const;
  int size() const;
  int local_size() const;  // ranks on this machine

  void all_reduce(std::span<float> values, Reduce op = Reduce::Sum);
  void all_reduce(std::span<double> values, Reduce op = Reduce::Sum);
  // `values` is one piece per rank, piece r of counts[r] elements; `piece` gets the sum over ranks of piece rank(). It
  // may be that piece of `values` itself.
  void reduce_scatter(std::span<const float> values, std::span<const std::size_t> counts, std::span<float> piece);
  // The pieces of all ranks one after the other, counts[r] bytes from rank r. `piece` may lie in its place in `all`.
  void all_gather(std::span<const std::byte> piece, std::span<const std::size_t> counts, std::span<std::byte> all);
  // Texts of any length, one from each rank.
  std::vector<std::string> all_gather(std::string_view bytes);
  // send_counts[r] bytes go to rank r, receive_counts[r] come from it; both buffers hold the parts in order of rank.
  void all_to_all(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                  std::span<std::byte> receive, std::span<const std::size_t> receive_counts);
  void broadcast(std::span<std::byte> bytes, int root);
  void barrier();
  // Ranks with the same `color` form a group, ordered by `key`, then by rank here. What follows is shared by a
  // communicator and its groups.
  Communicator split(int color, int key = 0);

  // Where the program is ("step 12"): part of what a rank says when a deadline expires.
  void set_place(const std::string& place);
  // How long a collective may wait without a byte from the others, 1800 s at the start; 0: for ever. When it expires
  // every rank says its place and last operation, and all processes end with the exit code of a guard.
  void set_deadline(double seconds);
  // This rank cannot go on: the next collective of every other rank, here and in every group of this rank, throws an
  // Error of this kind and message, with this rank's number before it. Waits until the others were told, at most the
  // deadline. Nothing happens when the others know already, as after an Error that came out of a collective.
  void fail(const Error& error) noexcept;

  struct Transport;  // implemented in src/dist, one file per transport
  explicit Communicator(std::unique_ptr<Transport> transport);

 private:
  explicit Communicator(std::shared_ptr<Group> group);
  Group& group() const;
  std::shared_ptr<Group> group_;
};

// Writes one line to `fd`: this process's rank, its place, the collective it is in and the one before; returns after
// 0.2 s, when the launcher has read it. For handlers of SIGTERM, by which a launcher ends a rank whose others' deadline
// expired. Does nothing where ranks are not processes.
GRPO_API void write_rank_status(int fd) noexcept;

}  // namespace grpo::inline GRPO_ABI
