#include "train/ranks.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <numeric>

#include "train/group_frame.h"

namespace grpo::inline GRPO_ABI {
namespace {

IndexRange even_share_of(std::size_t count, std::size_t rank, std::size_t ranks) {
  return {count * rank / ranks, count * (rank + 1) / ranks};
}

}  // namespace

IndexRange even_share(std::size_t count, const Communicator& communicator) {
  return even_share_of(count, static_cast<std::size_t>(communicator.rank()),
                       static_cast<std::size_t>(communicator.size()));
}

IndexRange balanced_share(std::span<const std::int64_t> costs, std::span<const std::size_t> runs,
                          const Communicator& communicator) {
  const auto ranks = static_cast<std::size_t>(communicator.size()),
             rank = static_cast<std::size_t>(communicator.rank());
  std::vector<std::size_t> starts;  // of pieces that stay together
  for (std::size_t i = 0; i < costs.size(); ++i)
    if (i == 0 || runs[i] != runs[i - 1]) starts.push_back(i);
  if (starts.size() < ranks) {
    starts.resize(costs.size());
    std::iota(starts.begin(), starts.end(), std::size_t{0});
  }
  const double total = static_cast<double>(std::accumulate(costs.begin(), costs.end(), std::int64_t{0}));
  IndexRange own{costs.size(), costs.size()};
  double before = 0;
  for (std::size_t s = 0; s < starts.size(); ++s) {
    const std::size_t begin = starts[s], end = s + 1 < starts.size() ? starts[s + 1] : costs.size();
    double cost = 0;
    for (std::size_t i = begin; i < end; ++i) cost += static_cast<double>(costs[i]);
    // A piece goes to the rank in whose part of the total its middle lies.
    const double middle = total > 0 ? (before + cost / 2) / total : 0;
    const std::size_t owner = std::min(ranks - 1, static_cast<std::size_t>(middle * static_cast<double>(ranks)));
    if (owner == rank) {
      own.begin = std::min(own.begin, begin);
      own.end = end;
    }
    before += cost;
  }
  if (own.begin == costs.size()) own.end = own.begin;
  return own;
}

void exchange_groups(Communicator& communicator, std::vector<RolloutGroup>& groups) {
  if (communicator.size() == 1) return;
  const IndexRange own = even_share(groups.size(), communicator);
  FrameWriter mine;
  for (std::size_t g = own.begin; g < own.end; ++g) write_group(mine, groups[g]);
  const std::vector<std::string> frames = communicator.all_gather(mine.frame());
  for (std::size_t rank = 0; rank < frames.size(); ++rank) {
    if (static_cast<int>(rank) == communicator.rank()) continue;
    const IndexRange theirs = even_share_of(groups.size(), rank, frames.size());
    FrameReader reader(frames[rank]);
    for (std::size_t g = theirs.begin; g < theirs.end; ++g) read_group(reader, groups[g]);
    GRPO_ASSERT(reader.done());
  }
}

Sums merge_over_ranks(Communicator& communicator, const Sums& own,
                      const std::function<void(Sums& into, const Sums& from)>& add) {
  if (communicator.size() == 1) return own;
  FrameWriter mine;
  mine.number(own.size());
  for (const auto& [name, value] : own) {
    mine.text(name);
    mine.real(value);
  }
  Sums merged;
  for (const std::string& frame : communicator.all_gather(mine.frame())) {
    FrameReader reader(frame);
    Sums theirs;
    for (std::uint64_t left = reader.number(); left > 0; --left) {
      const std::string name(reader.text());
      theirs[name] = reader.real();
    }
    add(merged, theirs);
  }
  return merged;
}

BackwardPasses::BackwardPasses(CausalLM& policy, Optimizer& optimizer, Communicator& communicator, Phases& phases,
                               int zero_stage)
    : policy_(policy), optimizer_(optimizer), communicator_(communicator), phases_(phases) {
  if (communicator.size() == 1 || zero_stage < 2) return;
  order_ = policy.backward_order();
  policy.on_layer_backward([this](std::size_t group) { optimizer_.reduce(order_[group]); });
}

BackwardPasses::~BackwardPasses() {
  if (!order_.empty()) policy_.on_layer_backward({});
}

void BackwardPasses::run(std::size_t count, const std::function<at::Tensor(std::size_t)>& loss) {
  double passes = static_cast<double>(count);
  if (!order_.empty()) communicator_.all_reduce(std::span<double>(&passes, 1), Reduce::Max);
  for (std::size_t i = 0; i < static_cast<std::size_t>(passes); ++i) {
    const at::Tensor one = i < count ? loss(i) : at::Tensor();
    const Phase backward(&phases_, "backward");
    if (one.defined()) one.backward();
    if (order_.empty()) continue;
    if (one.defined()) {
      optimizer_.reduce(order_.back());
    } else {
      for (const std::vector<Parameter*>& group : order_) optimizer_.reduce(group);
    }
  }
}

}  // namespace grpo::inline GRPO_ABI
