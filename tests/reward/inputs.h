// Short ways to build what rewards read.
#pragma once

#include <grpo/reward.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grpo::test {

using Data = RewardInput::Data;

inline std::shared_ptr<Data> data(std::string completion, std::string reference = "", std::string prompt = "") {
  auto made = std::make_shared<Data>();
  made->completion = std::move(completion);
  made->prompt = std::move(prompt);
  if (!reference.empty()) made->reference = std::move(reference);
  return made;
}

inline RewardInput input(std::string completion, std::string reference = "", std::string prompt = "") {
  return RewardInput(data(std::move(completion), std::move(reference), std::move(prompt)));
}

inline RewardEntry entry(std::string name, std::string type = "", Json params = {}) {
  RewardEntry made;
  made.name = std::move(name);
  made.type = std::move(type);
  made.params = std::move(params);
  return made;
}

inline RewardSet reward_set(const std::vector<RewardEntry>& entries, double max_failure_fraction = 0.1, int threads = 1,
                            std::optional<TemplateKind> kind = {}) {
  return RewardSet(entries, kind, max_failure_fraction, ThinkMode::Auto, threads);
}

// The verdict of a set's only reward on one answer.
inline Verdict judge(RewardSet& set, std::shared_ptr<const Data> one) {
  const std::vector<std::vector<std::shared_ptr<const Data>>> groups = {{std::move(one)}};
  return set.score(groups, true).at(0).verdicts.at(0).at(0);
}

using Group = std::vector<std::shared_ptr<const Data>>;

inline Group group(std::initializer_list<const char*> completions) {
  Group made;
  for (const char* completion : completions) made.push_back(data(completion));
  return made;
}

using ScoreFunction = std::function<double(const RewardInput&)>;

class FunctionReward final : public Reward {
 public:
  FunctionReward(std::string name, ScoreFunction function) : name_(std::move(name)), function_(std::move(function)) {}
  std::string_view name() const override { return name_; }
  double score(const RewardInput& input) const override { return function_(input); }

 private:
  std::string name_;
  ScoreFunction function_;
};

inline void add(RewardSet& set, const std::string& name, ScoreFunction function, RewardEntry settings = {}) {
  settings.name = name;
  set.add(std::make_unique<FunctionReward>(name, std::move(function)), std::move(settings));
}

// A score that tells answers apart.
inline double length(const RewardInput& input) { return static_cast<double>(input.completion().size()) / 10; }

// What an action throws; "" when it throws no Error.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The kind of the Error that an action throws; nothing when it throws none.
template <class Action>
std::optional<ErrorKind> kind_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  return std::nullopt;
}

}  // namespace grpo::test
