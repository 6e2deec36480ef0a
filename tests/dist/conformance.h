// What every communicator does, whatever moves its bytes: run by the tests of each, on any number of ranks.
#pragma once

#include <span>
#include <string>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

struct ConformanceCheck {
  const char* name;
  void (*run)(Communicator&);  // throws std::runtime_error with what is wrong
};

void expect(bool good, const std::string& what);

// The communicator is as good as new after each.
std::span<const ConformanceCheck> conformance_checks();
// Each leaves the communicator unusable.
std::span<const ConformanceCheck> failure_checks();

}  // namespace grpo::inline GRPO_ABI
