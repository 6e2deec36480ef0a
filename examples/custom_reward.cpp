// A reward of your own, linked into a program and named in the run config: grpo's `train` with one more reward type.
//
//   custom_reward run.yaml key=value ...      with `rewards: [{name: brevity, weight: 0.2, params: {limit: 20}}]`
#include <grpo/grpo.h>

#include <cstdio>

namespace {

// 1 for a final answer of at most `limit` characters, falling to 0 at twice that.
class Brevity final : public grpo::Reward {
 public:
  Brevity(std::string name, double limit) : name_(std::move(name)), limit_(limit) {}
  std::string_view name() const override { return name_; }
  double score(const grpo::RewardInput& in) const override {
    const double excess = static_cast<double>(in.final_answer().size()) / limit_ - 1;
    return excess <= 0 ? 1.0 : excess >= 1 ? 0.0 : 1.0 - excess;
  }

 private:
  std::string name_;
  double limit_;
};

std::unique_ptr<grpo::Reward> make_brevity(const std::string& name, const grpo::Json& params) {
  constexpr std::string_view kKeys[] = {"limit"};
  grpo::check_params(name, params, kKeys);
  const grpo::Json* limit = params.find("limit");
  return std::make_unique<Brevity>(name, limit ? limit->as_double() : 40.0);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    grpo::register_reward("brevity", make_brevity);  // before load_config, which checks reward types
    grpo::Trainer(grpo::load_config(argc, argv)).run();
  } catch (const grpo::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.kind() == grpo::ErrorKind::User ? 2 : 1;
  }
}
