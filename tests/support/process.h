// What the system says of this process.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace grpo::testing {

// "VmHWM" or "VmRSS" of this process in bytes; 0: unknown.
inline std::int64_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kib = 0;
    if (word == name + ":" && status >> kib) return kib * 1024;
  }
  return 0;
}

}  // namespace grpo::testing
