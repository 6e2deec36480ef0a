#include "dist/launcher.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace grpo::inline GRPO_ABI {
namespace {

// A launcher tells the number of its ranks in `size`. Slurm also sets it in shells that are no task of its own; only
// tasks have `task` as well.
struct Launcher {
  const char* name;
  const char* size;
  const char* task;  // or null
  bool speaks_mpi;
};
constexpr Launcher kLaunchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", nullptr, true},
    {"mpiexec", "PMI_SIZE", nullptr, true},
    {"Slurm", "SLURM_NTASKS", "SLURM_PROCID", true},
    {"torchrun", "WORLD_SIZE", nullptr, false},
};

bool is_set(const char* variable) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0';
}

int number_of_ranks(const char* variable) {
  const char* text = std::getenv(variable);
  const char* end = text + std::strlen(text);
  int ranks = 0;
  const auto [stop, error] = std::from_chars(text, end, ranks);
  GRPO_CHECK(error == std::errc() && stop == end && ranks >= 1, std::string("Communicator::from_environment: ") +
                                                                    variable + ": expected a number of ranks, got \"" +
                                                                    text + "\"");
  return ranks;
}

std::vector<std::size_t> cpus_of_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<std::size_t> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

}  // namespace

Launch announced_launch() {
  for (const Launcher& launcher : kLaunchers) {
    if (!is_set(launcher.size) || (launcher.task != nullptr && !is_set(launcher.task))) continue;
    return {launcher.name, launcher.size, number_of_ranks(launcher.size), launcher.speaks_mpi};
  }
  return {};
}

int threads_of_rank(int configured, int cpus, int sharers) {
  if (configured == 0) return std::max(1, cpus / std::max(1, sharers));
  GRPO_CHECK(configured <= cpus, "threads: " + std::to_string(configured) + ", but this rank may run on " +
                                     std::to_string(cpus) + (cpus == 1 ? " core" : " cores") +
                                     "; mpirun binds ranks to cores: add --bind-to none, or lower threads");
  return configured;
}

int allowed_cpus() { return std::max(1, static_cast<int>(cpus_of_process().size())); }

int threads_of_rank(Communicator& communicator, int configured) {
  // Equal for ranks on one machine with the same processors.
  char machine[256] = "";
  gethostname(machine, sizeof machine - 1);
  std::string place = machine;
  for (const std::size_t cpu : cpus_of_process()) place += " " + std::to_string(cpu);
  const std::vector<std::string> places = communicator.all_gather(place);
  const auto sharers = std::count(places.begin(), places.end(), place);
  return threads_of_rank(configured, allowed_cpus(), static_cast<int>(sharers));
}

}  // namespace grpo::inline GRPO_ABI
