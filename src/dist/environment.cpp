#include <string>

#include "dist/group.h"
#include "dist/launcher.h"
#include "dist/mpi.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::string started(const Launch& launch) {
  return "Communicator::from_environment: " + launch.launcher + " started " + std::to_string(launch.ranks) +
         " ranks (" + launch.variable + ")";
}

std::unique_ptr<Communicator::Transport> transport_of(const Launch& launch) {
  GRPO_CHECK(launch.speaks_mpi, started(launch) +
                                    ", which find each other by NCCL only, and this build has none: ranks on CPUs are "
                                    "started by MPI, as in mpirun -n " +
                                    std::to_string(launch.ranks) + " --bind-to none grpo train run.yaml, or srun");
  std::unique_ptr<Communicator::Transport> transport;
  try {
    transport = mpi_transport();
  } catch (const Error& error) {
    throw Error(started(launch) + ", which need MPI. " + error.what(), error.kind());
  }
  if (transport->size() == launch.ranks) return transport;
  if (mpi_owned()) mpi_finish();
  throw Error(started(launch) + ", but MPI found " + std::to_string(transport->size()) +
              ": start them with the mpirun of the same MPI (grpo doctor names it), or with srun --mpi=pmix");
}

}  // namespace

Communicator Communicator::from_environment() {
  const Launch launch = announced_launch();
  if (launch.ranks == 1) return single();
  // MPI starts once in a process and ends with it; every communicator from here is a handle to the same ranks.
  struct ProcessRanks {
    explicit ProcessRanks(const Launch& launch_in) : group(Communicator(transport_of(launch_in)).group_) {
      group->world().status.publish();
    }
    ~ProcessRanks() {
      // A process that leaves without a word is noticed by its launcher, which then ends the others.
      if (mpi_owned() && group->end()) mpi_finish();
    }
    std::shared_ptr<Group> group;
  };
  static const ProcessRanks process(launch);
  return Communicator(process.group);
}

}  // namespace grpo::inline GRPO_ABI
