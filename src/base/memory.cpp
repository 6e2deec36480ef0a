#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace grpo::inline GRPO_ABI {
namespace {

std::int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : -1;  // "max" is no number
}

std::int64_t available_to_system() {
  std::int64_t available = 0;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string name; meminfo >> name;) {
    std::int64_t kib = 0;
    if (name == "MemAvailable:" && meminfo >> kib) available = kib * 1024;
    meminfo.ignore(256, '\n');
  }
  return available;
}

// What the control group leaves, or -1: no limit.
std::int64_t left_to_group() {
  const std::int64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit < 0 || used < 0) return -1;
  std::int64_t cached = 0;  // pages of files, which make room
  std::ifstream stat("/sys/fs/cgroup/memory.stat");
  std::int64_t bytes = 0;
  for (std::string name; stat >> name >> bytes;)
    if (name == "active_file" || name == "inactive_file") cached += bytes;
  return std::max<std::int64_t>(0, limit - used + cached);
}

}  // namespace

std::int64_t available_memory(int sharers) {
  const std::int64_t system = available_to_system(), group = left_to_group();
  if (group < 0) return system / sharers;
  return (system > 0 ? std::min(system, group) : group) / sharers;
}

}  // namespace grpo::inline GRPO_ABI
