#include "reward/worker_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "reward/group_call.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr const char* kProgram = "grpo-reward-worker";

bool is_program(const std::filesystem::path& path) { return ::access(path.c_str(), X_OK) == 0; }

[[noreturn]] void system_error(const std::string& what, int code) {
  throw Error(what + ": " + std::strerror(code), ErrorKind::Internal);
}

struct SpawnSettings {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

// exec, never fork alone: this process has threads. Nothing of ours is inherited but stderr and the one socket.
pid_t spawn(const std::string& program, int socket) {
  SpawnSettings settings;
  posix_spawn_file_actions_addopen(&settings.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&settings.actions, 2, 1);  // our stdout is for JSON lines
  posix_spawn_file_actions_adddup2(&settings.actions, socket, kWorkerSocket);
  posix_spawn_file_actions_addclosefrom_np(&settings.actions, kWorkerSocket + 1);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  posix_spawnattr_setpgroup(&settings.attributes, 0);
  posix_spawnattr_setflags(&settings.attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string name = kProgram;
  char* arguments[] = {name.data(), nullptr};
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, program.c_str(), &settings.actions, &settings.attributes, arguments, environ);
  if (failed != 0) system_error("cannot start " + program, failed);
  return pid;
}

std::string described(int status) {
  if (WIFSIGNALED(status)) {
    return "was killed by signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")";
  }
  return "ended with exit code " + std::to_string(WEXITSTATUS(status));
}

// Waits a moment for the end of `pid`; false if it lives on. Someone else's wait counts as its end.
bool reap(pid_t pid, std::chrono::milliseconds patience, int& status) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (true) {
    const pid_t ended = ::waitpid(pid, &status, WNOHANG);
    if (ended == pid || (ended < 0 && errno != EINTR)) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

std::string find_worker_program() {
  if (const char* named = std::getenv("GRPO_REWARD_WORKER")) {
    GRPO_CHECK(is_program(named), std::string("GRPO_REWARD_WORKER: expected a program, got '") + named + "'");
    return named;
  }
  std::error_code ignored;
  const std::filesystem::path beside =
      std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / kProgram;
  if (is_program(beside)) return beside.string();
  const char* search = std::getenv("PATH");
  std::string_view rest = search ? search : "";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::filesystem::path candidate = std::filesystem::path(rest.substr(0, end)) / kProgram;
    if (candidate.is_absolute() && is_program(candidate)) return candidate.string();
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  throw Error(std::string("a worker process needs the program ") + kProgram +
              ", which is not beside this program, not on PATH and not named by GRPO_REWARD_WORKER");
}

WorkerProcess::WorkerProcess() {
  const std::string program = find_worker_program();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) system_error("socketpair", errno);
  channel_.emplace(ends[0]);
  // Above the descriptors that the new process sets up.
  const int theirs = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
  const int code = errno;
  ::close(ends[1]);
  if (theirs < 0) system_error("fcntl", code);
  try {
    pid_ = spawn(program, theirs);
  } catch (...) {
    ::close(theirs);
    throw;
  }
  ::close(theirs);
}

WorkerProcess::~WorkerProcess() { end(); }

std::string WorkerProcess::end() {
  if (pid_ < 0) return "";
  int status = 0;
  // One that closed its socket is on its way out: how it ended is worth a moment.
  const bool ended_itself =
      reap(pid_, channel_ ? std::chrono::milliseconds(0) : std::chrono::milliseconds(1000), status);
  ::kill(-pid_, SIGKILL);
  channel_.reset();
  if (!ended_itself) reap(pid_, std::chrono::milliseconds(5000), status);
  pid_ = -1;
  return ended_itself ? described(status) : "";
}

std::string WorkerProcess::ask(const std::string& request, std::chrono::steady_clock::time_point deadline) {
  std::string reply;
  Channel::State state = channel_ ? channel_->send(request, deadline) : Channel::State::Gone;
  if (state == Channel::State::Fine) state = channel_->receive(reply, kMaxReplyBytes, deadline);
  if (state == Channel::State::Fine) return reply;
  if (state == Channel::State::Late) {
    end();
    throw RewardFailure(Cause::TimedOut, "the reward took longer than its timeout_s; its worker process was killed");
  }
  channel_.reset();
  const std::string how = end();
  throw RewardFailure(Cause::Infrastructure,
                      "the reward's worker process " + (how.empty() ? "broke off and was killed" : how));
}

}  // namespace grpo::inline GRPO_ABI
