#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "dist/transport.h"

namespace grpo::inline GRPO_ABI {
namespace {

// A launcher tells the number of its ranks in `size`. Slurm also sets it in shells that are no task of its own; only
// tasks have `task` as well.
struct Launcher {
  const char* name;
  const char* size;
  const char* task;  // or null
};
constexpr Launcher kLaunchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", nullptr},
    {"Slurm", "SLURM_NTASKS", "SLURM_PROCID"},
    {"torchrun", "WORLD_SIZE", nullptr},
};

// Ranks that a launcher announces; 1 without one.
int announced_ranks(const Launcher& launcher) {
  const char* text = std::getenv(launcher.size);
  if (text == nullptr || *text == '\0') return 1;
  if (launcher.task != nullptr && std::getenv(launcher.task) == nullptr) return 1;
  int ranks = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, ranks);
  GRPO_CHECK(error == std::errc() && stop == end && ranks >= 1,
             std::string("Communicator::from_environment: ") + launcher.size + ": expected a number of ranks, got \"" +
                 text + "\"");
  return ranks;
}

}  // namespace

Communicator Communicator::from_environment() {
  for (const Launcher& launcher : kLaunchers) {
    const int ranks = announced_ranks(launcher);
    GRPO_CHECK(ranks == 1, std::string("Communicator::from_environment: ") + launcher.name + " started " +
                               std::to_string(ranks) + " ranks (" + launcher.size +
                               "), and this build has no multi-process transport; expected one process");
  }
  return single();
}

Communicator Communicator::single() { return Communicator(single_transport()); }

Communicator::Communicator(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;

int Communicator::rank() const {
  GRPO_ASSERT(transport_ != nullptr);
  return transport_->rank();
}

int Communicator::size() const {
  GRPO_ASSERT(transport_ != nullptr);
  return transport_->size();
}

void Communicator::all_reduce(std::span<float> values, Reduce op) {
  GRPO_ASSERT(transport_ != nullptr);
  transport_->all_reduce(values, op);
}

void Communicator::all_reduce(std::span<double> values, Reduce op) {
  GRPO_ASSERT(transport_ != nullptr);
  transport_->all_reduce(values, op);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) {
  GRPO_CHECK(root >= 0 && root < size(), "Communicator::broadcast: root: expected a rank in [0, " +
                                             std::to_string(size()) + "), got " + std::to_string(root));
  transport_->broadcast(bytes, root);
}

void Communicator::barrier() {
  GRPO_ASSERT(transport_ != nullptr);
  transport_->barrier();
}

}  // namespace grpo::inline GRPO_ABI
