// Rollouts on disk: what was sampled and how it was scored, so that a run that goes on samples and scores nothing
// twice.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <grpo/train.h>

namespace grpo::inline GRPO_ABI {

struct Rollout {
  Json address;                               // what decided it: step, weights, rewards ...
  std::vector<RolloutGroup> groups;           // read from a file: prompts as row and ids alone, no advantages
  std::vector<RewardFailureCounts> failures;  // [reward], of this rollout

  std::int64_t step() const { return address.at("step").as_int(); }  // optimiser steps behind its weights
};

// Names of the rewards, and what failed in each since `before` on all ranks, in their order.
Json reward_names(const RewardSet& rewards);
std::vector<RewardFailureCounts> failures_since(const std::map<std::string, RewardFailureCounts>& before,
                                                const RewardSet& rewards, Communicator& communicator);

// One file with a checksum over everything in it. Throws Error on a damaged one, naming it.
void save_rollout(const std::string& path, const Rollout& rollout);
Rollout load_rollout(const std::string& path);

// The rollouts of a run that no checkpoint covers yet, a file each. Rank 0 writes, all ranks read.
class Journal {
 public:
  // `run`: a checksum of the config and the data, which decide a rollout with its step and the weights.
  Journal(std::string folder, std::string run, Communicator& communicator)
      : folder_(std::move(folder)), run_(std::move(run)), communicator_(&communicator) {}

  Json address(std::int64_t step, const CausalLM& model, const RewardSet& rewards) const;
  // The rollout of this address, as it was written. One of the same step that was made by other weights, another
  // config or other data is no such rollout. Every rank asks, and gets the same answer.
  std::optional<Rollout> find(const Json& address) const;
  void write(const Rollout& rollout) const;
  // A checkpoint of `step` holds what came of the rollouts before it.
  void forget(std::int64_t step) const;

 private:
  std::string path_of(std::int64_t step) const;
  bool holds(const Json& address) const;

  std::string folder_, run_;
  Communicator* communicator_;
};

}  // namespace grpo::inline GRPO_ABI
