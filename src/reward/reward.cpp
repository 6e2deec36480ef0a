#include <grpo/reward.h>

#include <cmath>

#include "base/nearest.h"
#include "reward/group_call.h"

namespace grpo::inline GRPO_ABI {

Verdict Reward::judge(const RewardInput& input) const {
  const double value = score(input);
  return {value, std::isnan(value) ? "missing" : "scored", ""};
}

std::vector<Verdict> Reward::score_group(std::span<const RewardInput> group) const {
  GroupCall* call = GroupCall::current();
  std::vector<Verdict> verdicts;
  verdicts.reserve(group.size());
  for (const RewardInput& input : group) verdicts.push_back(call ? call->judge(*this, input) : judge(input));
  return verdicts;
}

std::optional<std::string> Reward::answer(const RewardInput& input) const {
  return input.has_final_answer() ? std::optional(input.final_answer()) : std::nullopt;
}

void check_params(const std::string& reward, const Json& params, std::span<const std::string_view> allowed) {
  if (params.is_null()) return;
  const std::string where = params.where().empty() ? "" : params.where() + ": ";
  GRPO_CHECK(params.is_object(), where + "rewards." + reward + ".params: expected an object, got " + params.dump());
  const std::vector<std::string> known(allowed.begin(), allowed.end());
  for (const auto& [key, value] : params.as_object()) {
    bool found = false;
    for (const std::string& name : known) found = found || name == key;
    if (found) continue;
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    const std::string at = value.where().empty() ? where : value.where() + ": ";
    throw Error(at + "rewards." + reward + ".params." + key + ": unknown key" + nearest_hint(key, known) +
                (list.empty() ? "; this reward takes no params" : "; expected one of " + list));
  }
}

}  // namespace grpo::inline GRPO_ABI
