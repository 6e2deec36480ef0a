// A control experiment: `grpo train` with rewards that are dealt out at random inside each group, so that they
// keep their distribution but say nothing about the answers. What a run gains with them is not learnt from rewards
// (examples/quickstart.sh --controls).
//
//   shuffled_rewards run.yaml key=value ...      with `rewards: [{name: shuffled}]`
#include <grpo/grpo.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>

namespace {

// The quickstart's rewards, 1 for the right answer and 0.1 for the form, permuted within the group.
class Shuffled final : public grpo::Reward {
 public:
  std::string_view name() const override { return "shuffled"; }
  grpo::RewardRange range() const override { return {0.0, 1.1}; }
  double score(const grpo::RewardInput& in) const override {
    const bool right = in.final_answer() == in.reference();
    const bool in_form = in.completion().starts_with("<think>") && in.completion().ends_with("</answer>");
    return (right ? 1.0 : 0.0) + (in_form ? 0.1 : 0.0);
  }
  std::vector<grpo::Verdict> score_group(std::span<const grpo::RewardInput> group) const override {
    std::vector<grpo::Verdict> verdicts = Reward::score_group(group);
    const auto step = static_cast<std::uint64_t>(group.front().step());
    std::mt19937_64 random(std::hash<std::string_view>{}(group.front().prompt()) ^ step << 32);
    std::shuffle(verdicts.begin(), verdicts.end(), random);
    return verdicts;
  }
};

}  // namespace

int main(int argc, char** argv) {
  try {
    grpo::register_reward("shuffled",
                          [](const std::string&, const grpo::Json&) { return std::make_unique<Shuffled>(); });
    grpo::Trainer(grpo::load_config(argc, argv)).run();
  } catch (const grpo::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.kind() == grpo::ErrorKind::User ? 2 : 1;
  }
}
