#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "dist/group.h"
#include "dist/launcher.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kExpiredExitCode = 3;  // that of a guard
constexpr auto kGrace = 2s;          // for the others to say where they are
constexpr std::size_t kMaxMessage = 4000;

int exit_code(ErrorKind kind) { return kind == ErrorKind::User ? 2 : kind == ErrorKind::Guard ? 3 : 1; }

}  // namespace

World::World(std::unique_ptr<Communicator::Transport> transport_in)
    : transport(std::move(transport_in)),
      status(transport->rank(), transport->size()),
      crowded_(transport->local_size() > allowed_cpus()) {}

void World::wait(const std::function<bool()>& done, Wait how) {
  const auto start = Clock::now();
  const std::chrono::microseconds spin = crowded_ ? 20us : how == Wait::Busy ? 20ms : 1ms;
  while (!done()) {
    const auto waited = Clock::now() - start;
    if (waited < spin) continue;
    if (deadline > 0 && waited > std::chrono::duration<double>(deadline)) expire();
    if (how == Wait::Idle && waited > 5ms) {
      std::this_thread::sleep_for(50us);
    } else {
      sched_yield();
    }
  }
}

void World::expire() {
  log::error("deadline expired: " + status.text());
  std::this_thread::sleep_for(kGrace);
  transport->abort(kExpiredExitCode);
}

void World::fail(const Error& error) noexcept {
  try {
    if (transport->size() == 1) return;
    if (!failure) failure = Failure{error.kind(), transport->rank(), std::string(error.what()).substr(0, kMaxMessage)};
    std::vector<Group*> untold;
    for (Group* group : groups) {
      // Left in the middle of a collective, where the others expect anything but a message of failure.
      if (group->state_ == Group::State::Moving) {
        log::error(failure->error().what());
        transport->abort(exit_code(error.kind()));
      }
      if (group->state_ == Group::State::Ready && group->size() > 1) untold.push_back(group);
    }
    if (untold.empty()) return;
    status.enter("telling the others of an error");
    for (Group* group : untold) group->start_telling(*failure);
    // All groups at once: the others may come to them in any order.
    wait([&] { return std::erase_if(untold, [](Group* group) { return group->told(); }), untold.empty(); }, Wait::Idle);
    status.leave();
  } catch (...) {  // the transport is gone, and with it everybody whom this rank could tell
  }
}

}  // namespace grpo::inline GRPO_ABI
