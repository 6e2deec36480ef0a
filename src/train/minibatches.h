// How a rollout's answers are dealt out to the optimiser steps that it serves.
#pragma once

#include <cstdint>
#include <vector>

#include <grpo/config.h>

namespace grpo::inline GRPO_ABI {

struct Deal {
  MinibatchSplit split = MinibatchSplit::Groups;
  int parts = 1;  // steps_per_generation
  std::int64_t seed = 42, step = 0;
};
// The part of each answer, in order of the rollout's groups. Parts differ by one answer at most.
std::vector<std::size_t> deal_answers(std::size_t num_answers, const Deal& deal);

}  // namespace grpo::inline GRPO_ABI
