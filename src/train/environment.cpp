#include "train/environment.h"

#include <fmt/format.h>
#include <grpo/ops.h>
#include <sched.h>
#include <sys/utsname.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "base/memory.h"

namespace grpo::inline GRPO_ABI {
namespace {

// What stands behind the first `separator` of the first line of `path` that begins with `key`.
Json value_in(const char* path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t at = line.find(separator);
    if (!line.starts_with(key) || at == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t\"", at + 1);
    if (begin == std::string::npos) break;
    return line.substr(begin, line.find_last_not_of(" \t\"") + 1 - begin);
  }
  return {};
}

Json operating_system() {
  utsname kernel{};
  if (uname(&kernel) != 0) return {};
  const Json name = value_in("/etc/os-release", "PRETTY_NAME", '=');
  const std::string of = fmt::format("{} {} {}", kernel.sysname, kernel.release, kernel.machine);
  return name.is_null() ? of : name.as_string() + ", " + of;
}

Json num_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? Json(CPU_COUNT(&cpus)) : Json();
}

Json positive(std::int64_t count) { return count > 0 ? Json(count) : Json(); }

}  // namespace

Json environment() {
  return Json::Object{
      {"grpo", GRPO_VERSION},
      {"abi", GRPO_ABI_NAME},
      {"build_type", GRPO_BUILD_TYPE},
      {"compiler", GRPO_COMPILER},
      {"libtorch", TORCH_VERSION},
      {"kernels", isa_name()},
      {"cpu", value_in("/proc/cpuinfo", "model name", ':')},
      {"cpus", num_cpus()},
      {"threads", num_threads()},
      {"memory_bytes", positive(static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE))},
      {"available_memory_bytes", positive(available_memory())},
      {"os", operating_system()},
  };
}

}  // namespace grpo::inline GRPO_ABI
