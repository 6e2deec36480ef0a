// length: prefers short right answers among the answers of one prompt (Kimi k1.5).
//
//   lambda = 1/2 - (len - min) / (max - min) over the group; right: lambda, wrong: min(0, lambda); all equal: 0
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "reward/registry.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

class Length final : public Reward {
 public:
  Length(std::string name, std::unique_ptr<Reward> accuracy) : name_(std::move(name)), accuracy_(std::move(accuracy)) {}

  std::string_view name() const override { return name_; }
  RewardRange range() const override { return {-0.5, 0.5}; }
  double score(const RewardInput& input) const override { return score_group({&input, 1}).front().score; }
  Verdict judge(const RewardInput& input) const override { return score_group({&input, 1}).front(); }

  std::vector<Verdict> score_group(std::span<const RewardInput> group) const override {
    const std::vector<std::size_t> lengths = lengths_of(group);
    const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
    const std::size_t spread = *longest - *shortest;
    std::vector<Verdict> verdicts;
    verdicts.reserve(group.size());
    for (std::size_t i = 0; i < group.size(); ++i) {
      Verdict& verdict = verdicts.emplace_back(accuracy_->judge(group[i]));
      if (std::isnan(verdict.score)) continue;
      const double place =
          static_cast<double>(lengths[i] - *shortest) / static_cast<double>(std::max<std::size_t>(spread, 1));
      const double lambda = spread == 0 ? 0.0 : 0.5 - place;
      verdict.score = verdict.score == 1 ? lambda : std::min(0.0, lambda);
      verdict.why = "length " + std::to_string(lengths[i]) + ", group " + std::to_string(*shortest) + " to " +
                    std::to_string(*longest);
    }
    return verdicts;
  }

  void check_row(const Json& row, const std::optional<std::string>& reference) const override {
    accuracy_->check_row(row, reference);
  }

 private:
  // In tokens; in characters where an answer comes without its tokens.
  static std::vector<std::size_t> lengths_of(std::span<const RewardInput> group) {
    const bool has_tokens =
        std::all_of(group.begin(), group.end(), [](const RewardInput& in) { return !in.token_ids().empty(); });
    std::vector<std::size_t> lengths;
    for (const RewardInput& in : group) {
      lengths.push_back(has_tokens ? in.token_ids().size() : count_characters(in.completion()));
    }
    return lengths;
  }

  std::string name_;
  std::unique_ptr<Reward> accuracy_;  // what is right
};

}  // namespace

std::unique_ptr<Reward> make_length(const std::string& name, const Json& params, const RewardContext& context) {
  return std::make_unique<Length>(name, make_accuracy(name, params, context));  // the same params
}

}  // namespace grpo::inline GRPO_ABI
