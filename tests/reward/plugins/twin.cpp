// Two plug-ins with a class, a type and statics of the same names.
#include <grpo/plugin.h>

class Twin : public grpo::plugin::Reward {
 public:
  static grpo::plugin::Declaration declaration() {
    return {"twin", "", {grpo::plugin::Parameter::number("value", TWIN, "the score")}};
  }
  explicit Twin(const grpo::plugin::Params& params) : value_(params.number("value")) {}
  double score(const grpo::plugin::RewardInput&) const override { return value_; }

 private:
  double value_;
};

GRPO_REWARD_PLUGIN(Twin)
