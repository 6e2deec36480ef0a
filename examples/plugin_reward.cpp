// A reward in a shared library of its own: built as libplugin_reward.so, named in a run file.
//
//   rewards:
//     - {name: brevity, plugin: libplugin_reward.so, weight: 0.2, params: {limit: 20}}
#include <grpo/plugin.h>

namespace {

namespace plugin = grpo::plugin;

// 1 for a final answer of at most `limit` bytes, falling to 0 at twice that.
class Brevity final : public plugin::Reward {
 public:
  static plugin::Declaration declaration() {
    return {.type = "brevity",
            .doc = "prefers short final answers",
            .parameters = {plugin::Parameter::number("limit", 40, "bytes that cost nothing").at_least(1)}};
  }
  explicit Brevity(const plugin::Params& params) : limit_(params.number("limit")) {}

  double score(const plugin::RewardInput& in) const override {
    const double excess = static_cast<double>(in.final_answer().size()) / limit_ - 1;
    return excess <= 0 ? 1.0 : excess >= 1 ? 0.0 : 1.0 - excess;
  }

 private:
  double limit_;
};

}  // namespace

GRPO_REWARD_PLUGIN(Brevity)
