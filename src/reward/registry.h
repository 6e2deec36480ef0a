// The table of reward types.
#pragma once

#include <grpo/reward.h>

#include <memory>
#include <optional>
#include <string>

namespace grpo::inline GRPO_ABI {

// What a reward's defaults may depend on besides its own params.
struct RewardContext {
  std::optional<TemplateKind> template_kind;
};

// Throws Error naming the known types when there is no `type`.
std::unique_ptr<Reward> make_reward(const std::string& type, const std::string& name, const Json& params,
                                    const RewardContext& context);

// The built-in rewards.
std::unique_ptr<Reward> make_accuracy(const std::string& name, const Json& params, const RewardContext& context);
std::unique_ptr<Reward> make_format(const std::string& name, const Json& params, const RewardContext& context);
std::unique_ptr<Reward> make_language_consistency(const std::string& name, const Json& params,
                                                  const RewardContext& context);
std::unique_ptr<Reward> make_length(const std::string& name, const Json& params, const RewardContext& context);
std::unique_ptr<Reward> make_repetition(const std::string& name, const Json& params, const RewardContext& context);
std::unique_ptr<Reward> make_soft_overlong(const std::string& name, const Json& params, const RewardContext& context);

}  // namespace grpo::inline GRPO_ABI
