#include "train/minibatches.h"

#include "base/random.h"

namespace grpo::inline GRPO_ABI {

std::vector<std::size_t> deal_answers(std::size_t num_answers, const Deal& deal) {
  const auto parts = static_cast<std::size_t>(deal.parts);
  std::vector<std::size_t> part_of(num_answers);
  if (deal.split == MinibatchSplit::Groups) {
    for (std::size_t i = 0; i < num_answers; ++i) part_of[i] = i * parts / num_answers;
    return part_of;
  }
  const std::vector<std::int64_t> shuffled =
      permutation(static_cast<std::int64_t>(num_answers), static_cast<std::uint64_t>(deal.seed),
                  static_cast<std::uint64_t>(deal.step), RandomStage::Minibatch);
  for (std::size_t i = 0; i < num_answers; ++i)
    part_of[static_cast<std::size_t>(shuffled[i])] = i * parts / num_answers;
  return part_of;
}

}  // namespace grpo::inline GRPO_ABI
