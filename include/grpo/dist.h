// Processes that train together. One process is a real communicator, not a special case.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

enum class Reduce { Sum, Min, Max };

// Collectives over `size()` ranks; every rank makes the same calls in the same order. Movable handle; used by one
// thread.
class GRPO_API Communicator {
 public:
  // The launcher's ranks, or one. A launcher this build cannot serve is an Error.
  static Communicator from_environment();
  static Communicator single();

  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  ~Communicator();

  int rank() const;
  int size() const;
  void all_reduce(std::span<float> values, Reduce op = Reduce::Sum);
  void all_reduce(std::span<double> values, Reduce op = Reduce::Sum);
  void broadcast(std::span<std::byte> bytes, int root);
  void barrier();

  struct Transport;  // implemented in src/dist, one file per transport

 private:
  explicit Communicator(std::unique_ptr<Transport> transport);
  std::unique_ptr<Transport> transport_;
};

}  // namespace grpo::inline GRPO_ABI
