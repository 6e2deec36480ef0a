// Steps of a run without its files, for the suite; on several ranks under mpirun.
//   step_bench RUN.json
// Any request takes a step; the line back is its metrics.
#include <grpo/grpo.h>

#include "tests/bench/serve.h"

namespace {

using namespace grpo;

// Rank 0 has the requests and tells the others that there is one more.
void serve_steps(const std::string& path) {
  Communicator ranks = Communicator::from_environment();
  Trainer trainer(load_config(path), ranks.split(0));
  std::byte more{1};
  const auto step = [&] {
    ranks.broadcast(std::span(&more, 1), 0);
    return more == std::byte{1} ? trainer.step() : Metrics{};
  };
  if (ranks.rank() == 0) {
    bench::serve([&](const Json&) {
      Json metrics;
      for (const auto& [name, value] : step()) metrics[name] = value;
      return metrics;
    });
    more = std::byte{0};
    step();
  } else {
    while (more == std::byte{1}) step();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: step_bench RUN.json\n", stderr);
    return 2;
  }
  return bench::run([&] { serve_steps(argv[1]); });
}
