#include "dist/mpi.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/log.h"
#include "dist/mpi_table.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr const char* kLibrary = "libgrpo_mpi.so";

// Beside this program or library, and where both are installed; then wherever the loader looks.
std::string library_file() {
  if (const char* chosen = std::getenv("GRPO_MPI_LIBRARY"); chosen != nullptr && *chosen != '\0') return chosen;
  std::error_code ignored;
  std::vector<std::filesystem::path> homes{std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path()};
  if (Dl_info self; dladdr(reinterpret_cast<const void*>(&library_file), &self) != 0 && self.dli_fname != nullptr)
    homes.push_back(std::filesystem::path(self.dli_fname).parent_path());
  for (const std::filesystem::path& home : homes) {
    for (const char* folder : {".", "../" GRPO_LIBDIR}) {
      const std::filesystem::path file = home / folder / kLibrary;
      if (!home.empty() && std::filesystem::exists(file, ignored)) return file.lexically_normal();
    }
  }
  return kLibrary;
}

struct Library {
  std::string file;
  const GrpoMpiTable* table;
};

Library open_library() {
  const std::string file = library_file();
  // Global, because plug-ins of MPI libraries use symbols of theirs without naming them. Never closed: MPI cannot be.
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    throw Error("MPI: " + std::string(dlerror()) +
                "; install OpenMPI (Debian: openmpi-bin libopenmpi-dev) and build grpo with -DGRPO_MPI=ON, or set "
                "GRPO_MPI_LIBRARY to the file of " +
                kLibrary);
  }
  using Function = const GrpoMpiTable* (*)();
  const auto function = reinterpret_cast<Function>(dlsym(handle, GRPO_MPI_TABLE_FUNCTION));
  GRPO_CHECK(function != nullptr, "MPI: " + file + ": expected a function " GRPO_MPI_TABLE_FUNCTION ", found none");
  const GrpoMpiTable* table = function();
  GRPO_CHECK(table->version == GRPO_MPI_TABLE_VERSION,
             "MPI: " + file + ": expected version " + std::to_string(GRPO_MPI_TABLE_VERSION) + " of " +
                 GRPO_MPI_TABLE_FUNCTION + ", got " + std::to_string(table->version) + ": it is of another grpo");
  return {file, table};
}

const Library& library() {
  static const Library opened = open_library();
  return opened;
}

const GrpoMpiTable& mpi() { return *library().table; }

void check(int failed) {
  if (failed != 0) throw Error(std::string("MPI: ") + mpi().error(), ErrorKind::Internal);
}

class MpiChannel final : public Communicator::Transport::Channel {
 public:
  explicit MpiChannel(int tag) : channel_(mpi().open(tag)) { GRPO_ASSERT(channel_ != nullptr); }
  ~MpiChannel() override { mpi().close(channel_); }
  MpiChannel(const MpiChannel&) = delete;
  MpiChannel& operator=(const MpiChannel&) = delete;

  void start(std::span<const Communicator::Transport::Send> sends,
             std::span<const Communicator::Transport::Receive> receives) override {
    parts_.clear();
    for (const auto& send : sends)  // MPI only reads what it sends
      parts_.push_back({send.peer, static_cast<int>(send.bytes), const_cast<std::byte*>(send.data)});
    for (const auto& receive : receives)
      parts_.push_back({receive.peer, static_cast<int>(receive.bytes), receive.data});
    check(mpi().begin(channel_, parts_.data(), static_cast<int>(sends.size()), parts_.data() + sends.size(),
                      static_cast<int>(receives.size())));
  }

  bool done() override {
    int done = 0;
    check(mpi().test(channel_, &done));
    return done != 0;
  }

 private:
  GrpoMpiChannel* channel_;
  std::vector<GrpoMpiPart> parts_;
};

std::atomic<bool> owned{false};

class MpiTransport final : public Communicator::Transport {
 public:
  MpiTransport() {
    check(mpi().start(&ranks_));
    owned = ranks_.owned != 0;
  }
  int rank() const override { return ranks_.rank; }
  int size() const override { return ranks_.size; }
  int local_size() const override { return ranks_.local_size; }
  std::unique_ptr<Channel> open(int number) override {
    GRPO_CHECK(number <= ranks_.max_tag, "Communicator::split: expected at most " + std::to_string(ranks_.max_tag) +
                                             " groups with this MPI, got one more");
    return std::make_unique<MpiChannel>(number);
  }
  void abort(int exit_code) override {
    mpi().abort(exit_code);
    std::_Exit(exit_code);
  }

 private:
  GrpoMpiRanks ranks_{};
};

}  // namespace

std::unique_ptr<Communicator::Transport> mpi_transport() { return std::make_unique<MpiTransport>(); }

bool mpi_owned() { return owned; }

void mpi_finish() {
  if (mpi().finish() != 0) log::error(std::string("MPI: ") + mpi().error());
}

std::string mpi_version() { return std::string(mpi().library_version()) + " through " + library().file; }

}  // namespace grpo::inline GRPO_ABI
