#include "train/stage.h"

#include <algorithm>

#include "base/log.h"
#include "base/memory.h"
#include "ops/pool.h"
#include "train/plan.h"

namespace grpo::inline GRPO_ABI {
namespace {

// A rank's share of what is free, with what loading left in the pool, less the moments, whose pages the first update
// touches; 0: unknown.
std::int64_t memory_for_a_step(const StageContext& context) {
  const std::int64_t share = available_memory(context.communicator.local_size());
  const std::int64_t moments =
      resident_bytes(context.config, context.policy.config(), context.communicator.size()).part("moments");
  return share > 0 ? std::max<std::int64_t>(share + ops::free_pool_bytes() - moments, 1) : 0;
}

}  // namespace

void fit_memory(const StageContext& context, const std::vector<std::int64_t>& lengths) {
  const RunConfig& config = context.config;
  const ModelConfig& model = context.policy.config();
  const int ranks = context.communicator.size();
  const std::int64_t available = memory_for_a_step(context);
  double recompute = plan_recompute(config, model, lengths, ranks, available) ? 1 : 0;
  context.communicator.all_reduce(std::span<double>(&recompute, 1), Reduce::Max);
  context.policy.set_recompute(recompute > 0);
  if (recompute > 0 && config.train.recompute == Recompute::Auto && context.communicator.rank() == 0)
    log::info("train.recompute: on, since the update does not fit into the free memory without");
  check_step_memory(config, model, lengths, ranks, available, context.policy.recompute());
}

}  // namespace grpo::inline GRPO_ABI
