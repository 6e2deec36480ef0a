// A process of grpo-reward-worker: started, asked, killed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "reward/channel.h"

namespace grpo::inline GRPO_ABI {

// What a worker may hold and answer. A plug-in that needs more is refused by its allocator, a longer reply ends it.
inline constexpr std::uint64_t kWorkerMemoryBytes = std::uint64_t{8} << 30;
inline constexpr std::uint64_t kMaxReplyBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMaxRequestBytes = std::uint64_t{1} << 30;
inline constexpr int kWorkerSocket = 3;  // the worker's descriptor of its end

// The path of grpo-reward-worker. Throws Error that says where it was sought.
std::string find_worker_program();

// In its own process group, which dies as a whole with this object, and with the process that made it.
class WorkerProcess {
 public:
  // Throws Error when the program cannot be found or started.
  WorkerProcess();
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // The answer to one request. Throws RewardFailure when the deadline passes or the worker dies; either way this
  // worker is dead then.
  std::string ask(const std::string& request, std::chrono::steady_clock::time_point deadline);

 private:
  std::string end();  // kills and reaps; how the process ended by itself, "" if it did not

  pid_t pid_ = -1;
  std::optional<Channel> channel_;
};

}  // namespace grpo::inline GRPO_ABI
