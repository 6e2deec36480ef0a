// A program that links the library, with a reward of its own.
#include <grpo/grpo.h>

#include <cstdio>

struct Brevity final : grpo::Reward {
  std::string_view name() const override { return "brevity"; }
  double score(const grpo::RewardInput& in) const override {  // NaN: this sample cannot be scored
    return in.final_answer().size() < 40 ? 1.0 : 0.0;
  }
};

int main(int argc, char** argv) {
  try {
    const grpo::RunConfig config = grpo::load_config(argc, argv);  // run.yaml key=value ...
    grpo::Trainer trainer(config, grpo::Communicator::from_environment());
    trainer.rewards().add(std::make_unique<Brevity>(), /*weight=*/0.2);
    trainer.run();
  } catch (const grpo::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
