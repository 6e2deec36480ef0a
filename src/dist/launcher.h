// What the program that started the ranks says of them, and what each rank may use of its machine.
#pragma once

#include <string>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

struct Launch {
  std::string launcher;  // "" without one
  std::string variable;  // that announces the ranks
  int ranks = 1;
  bool speaks_mpi = true;  // MPI finds the other ranks by itself
};

// From the environment; the first launcher that left a mark decides.
Launch announced_launch();

// Processors that this process may run on.
int allowed_cpus();

// Threads of a rank: `configured`, or with 0 its share of the `cpus` that it may run on and `sharers` ranks use. Error
// if `configured` does not fit.
int threads_of_rank(int configured, int cpus, int sharers);

// The same for this rank, which asks the others about their processors: a collective.
int threads_of_rank(Communicator& communicator, int configured);

}  // namespace grpo::inline GRPO_ABI
