#include <string>

#include "dist/launcher.h"

namespace grpo::inline GRPO_ABI {

Communicator Communicator::from_environment() {
  const Launch launch = announced_launch();
  GRPO_CHECK(launch.ranks == 1, "Communicator::from_environment: " + launch.launcher + " started " +
                                    std::to_string(launch.ranks) + " ranks (" + launch.variable +
                                    "), and this build has no multi-process transport; expected one process");
  return single();
}

}  // namespace grpo::inline GRPO_ABI
