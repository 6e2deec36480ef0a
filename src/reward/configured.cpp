#include "reward/configured.h"

namespace grpo::inline GRPO_ABI {
namespace {

ThinkMode think_mode_of(const std::string& name) {
  if (name == "required") return ThinkMode::Required;
  if (name == "none") return ThinkMode::None;
  return ThinkMode::Auto;
}

}  // namespace

RewardSet configured_rewards(const RunConfig& config, int num_threads) {
  return {config.rewards, config.data.template_kind, config.max_failure_fraction, think_mode_of(config.think),
          num_threads};
}

}  // namespace grpo::inline GRPO_ABI
