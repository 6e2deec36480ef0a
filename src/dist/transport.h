// What a Communicator does its work with: one implementation per way of reaching other processes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

struct Communicator::Transport {
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void all_reduce(std::span<float> values, Reduce op) = 0;
  virtual void all_reduce(std::span<double> values, Reduce op) = 0;
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual void barrier() = 0;
};

std::unique_ptr<Communicator::Transport> single_transport();

}  // namespace grpo::inline GRPO_ABI
