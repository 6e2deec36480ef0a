// A long run takes no more memory than a short one.
#include <grpo/train.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "support/tensors.h"
#include "support/tiny_run.h"

namespace grpo::testing {
namespace {

using Memory = OpsTest;

std::int64_t median(std::vector<std::int64_t>::const_iterator begin, std::vector<std::int64_t>::const_iterator end) {
  std::vector<std::int64_t> values(begin, end);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Three hundred steps with everything that a run may do. To keep what one step makes would show: its
// answers alone, with texts and log-probs, take some 10 KiB.
TEST_F(Memory, IsFlatAfterTheTenthStep) {
  constexpr std::int64_t kSteps = 300, kMostBytesPerStep = 1 << 10;
  ::mallopt(M_MMAP_THRESHOLD, 64 << 10);  // freed memory goes back at once: what is measured is what is in use
  const TinyRun run;
  run.add_row(1, 9, "eval.jsonl");
  for (RunConfig config : {run.grpo(kSteps), run.sft(kSteps)}) {
    config.output_dir = run.path(config.kind == RunKind::Grpo ? "grpo" : "sft");
    config.trace = true;
    config.save_every = 50;
    if (config.kind == RunKind::Grpo) {
      config.grpo.loss.beta = 0.05;
      config.grpo.steps_per_generation = 2;
      config.grpo.num_iterations = 2;
      config.eval = {.data = run.path("eval.jsonl"), .every = 10};
    }
    Trainer trainer = tiny_trainer(config);
    std::vector<std::int64_t> resident;
    trainer.on_step([&](const StepReport&) {
      ::malloc_trim(0);
      resident.push_back(status_bytes("VmRSS"));
    });
    trainer.run();
    ASSERT_EQ(resident.size(), static_cast<std::size_t>(kSteps));
    // Medians over 40 steps, 250 steps apart.
    const std::int64_t early = median(resident.begin() + 10, resident.begin() + 50);
    const std::int64_t late = median(resident.end() - 40, resident.end());
    std::cout << "resident after step 10: " << (early >> 10) << " KiB, at the end " << (late - early) / 1024
              << " KiB more\n";
    EXPECT_LT(late - early, 250 * kMostBytesPerStep);
  }
}

}  // namespace
}  // namespace grpo::testing
