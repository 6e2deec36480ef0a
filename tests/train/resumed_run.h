// Runs that stop and go on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/tensors.h"
#include "support/tiny_run.h"

namespace grpo::testing {

inline void run(const RunConfig& config, Trainer::Start start = Trainer::Start::Fresh, std::int64_t stop_after = 0) {
  Trainer trainer = tiny_trainer(config);
  trainer.on_step([stop_after](const StepReport& report) {
    if (report.step == stop_after) Trainer::request_stop();
  });
  trainer.run(start);
}

inline std::string resume_error(const RunConfig& config, ErrorKind kind = ErrorKind::User) {
  return error_of([&] { run(config, Trainer::Start::Resume); }, kind);
}

inline void resume_with(const RunConfig& config, const std::vector<std::string>& allow) {
  tiny_trainer(config).run(Trainer::Start::Resume, allow);
}

inline RunConfig with_reference(RunConfig config) {
  config.grpo.loss.beta = 0.05;
  config.grpo.ref_sync_steps = 3;
  config.grpo.ref_mixup_alpha = 0.5;
  config.optimizer.schedule = Schedule::Cosine;
  config.optimizer.warmup_steps = 1;
  return config;
}

}  // namespace grpo::testing
