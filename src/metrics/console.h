// The console of a run that tells its phases.
#pragma once

#include <memory>
#include <string>

#include <grpo/metrics.h>

#include "metrics/phases.h"

namespace grpo::inline GRPO_ABI {

// As console_sink in <grpo/metrics.h>, for a run that starts behind step `steps_done` now; on a terminal a thread
// rewrites the line four times a second, so that it shows what the run is at. `phases` outlives it.
std::unique_ptr<MetricSink> console_sink(const std::string& run_name, std::int64_t max_steps, std::int64_t steps_done,
                                         const Phases& phases);

}  // namespace grpo::inline GRPO_ABI
