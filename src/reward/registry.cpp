#include "reward/registry.h"

#include <map>
#include <mutex>

#include "base/nearest.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct BuiltinType {
  const char* type;
  std::unique_ptr<Reward> (*make)(const std::string&, const Json&, const RewardContext&);
};
constexpr BuiltinType kBuiltinTypes[] = {
    {"accuracy", make_accuracy}, {"format", make_format},         {"language_consistency", make_language_consistency},
    {"length", make_length},     {"repetition", make_repetition}, {"soft_overlong", make_soft_overlong},
};

struct UserTypes {
  std::mutex mutex;
  std::map<std::string, RewardFactory> factories;
};
UserTypes& user_types() {
  static UserTypes types;
  return types;
}

bool is_builtin(const std::string& type) {
  for (const BuiltinType& builtin : kBuiltinTypes) {
    if (type == builtin.type) return true;
  }
  return false;
}

}  // namespace

void register_reward(const std::string& type, RewardFactory factory) {
  GRPO_CHECK(!type.empty(), "register_reward: expected a type name, got an empty one");
  GRPO_CHECK(factory != nullptr, "register_reward: expected a factory for '" + type + "', got none");
  UserTypes& types = user_types();
  const std::lock_guard lock(types.mutex);
  const bool is_new = !is_builtin(type) && types.factories.emplace(type, std::move(factory)).second;
  GRPO_CHECK(is_new, "register_reward: reward type '" + type + "' is registered already");
}

std::vector<std::string> reward_types() {
  UserTypes& types = user_types();
  const std::lock_guard lock(types.mutex);
  std::vector<std::string> names;
  names.reserve(std::size(kBuiltinTypes) + types.factories.size());
  for (const BuiltinType& builtin : kBuiltinTypes) names.emplace_back(builtin.type);
  for (const auto& [type, factory] : types.factories) names.push_back(type);
  return names;
}

std::unique_ptr<Reward> make_reward(const std::string& type, const std::string& name, const Json& params,
                                    const RewardContext& context) {
  for (const BuiltinType& builtin : kBuiltinTypes) {
    if (type == builtin.type) return builtin.make(name, params, context);
  }
  RewardFactory factory;
  {
    UserTypes& types = user_types();
    const std::lock_guard lock(types.mutex);
    const auto found = types.factories.find(type);
    if (found != types.factories.end()) factory = found->second;
  }
  if (factory) {
    auto reward = factory(name, params);
    GRPO_CHECK(reward != nullptr, "rewards." + name + ": the factory of type '" + type + "' returned null");
    return reward;
  }
  const std::vector<std::string> known = reward_types();
  std::string list;
  for (const std::string& one : known) list += (list.empty() ? "" : ", ") + one;
  throw Error("rewards." + name + ".type: expected one of " + list + "; got '" + type + "'" +
              nearest_hint(type, known));
}

}  // namespace grpo::inline GRPO_ABI
