// What the ranks of a run share out and put together. With one rank every function is the identity.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <grpo/train.h>

#include "metrics/phases.h"

namespace grpo::inline GRPO_ABI {

struct IndexRange {
  std::size_t begin = 0, end = 0;
  std::size_t size() const { return end - begin; }
};
// Of `count` things in order, those of this rank; ranks differ by one.
IndexRange even_share(std::size_t count, const Communicator& communicator);
// Of things with costs, in runs that stay together, those of this rank: neighbours, about as costly as the others'.
// runs[i] is the number of run that thing i belongs to, ascending. With fewer runs than ranks they are cut.
IndexRange balanced_share(std::span<const std::int64_t> costs, std::span<const std::size_t> runs,
                          const Communicator& communicator);

// Every rank has made its even_share of `groups` (completions, rewards, verdicts, absent rewards); afterwards every
// rank has them all, the same bits.
void exchange_groups(Communicator& communicator, std::vector<RolloutGroup>& groups);

using Sums = std::map<std::string, double>;
// Rank by rank into one, by `add`; every rank gets the same.
Sums merge_over_ranks(Communicator& communicator, const Sums& own,
                      const std::function<void(Sums& into, const Sums& from)>& add);

// The backward passes of one optimiser step, as many on every rank. With zero_stage 2 the gradients of a layer go to
// the ranks that keep them as soon as they are complete.
class BackwardPasses {
 public:
  BackwardPasses(CausalLM& policy, Optimizer& optimizer, Communicator& communicator, Phases& phases, int zero_stage);
  ~BackwardPasses();
  BackwardPasses(const BackwardPasses&) = delete;
  BackwardPasses& operator=(const BackwardPasses&) = delete;

  // One pass for each of `count` losses; loss(i) gives the i-th, or an undefined tensor when there is none.
  void run(std::size_t count, const std::function<at::Tensor(std::size_t i)>& loss);

 private:
  CausalLM& policy_;
  Optimizer& optimizer_;
  Communicator& communicator_;
  Phases& phases_;
  std::vector<std::vector<Parameter*>> order_;  // empty: gradients stay where they are until Optimizer::step
};

}  // namespace grpo::inline GRPO_ABI
