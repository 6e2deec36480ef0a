#include "reward/worker.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "reward/plugin_reward.h"
#include "reward/wire.h"
#include "reward/worker_process.h"

namespace grpo::inline GRPO_ABI {
namespace {

using wire::Op;
using wire::Reader;
using wire::Reply;
using wire::Writer;

void limit(int resource, std::uint64_t most) {
  const rlimit both = {most, most};
  setrlimit(static_cast<__rlimit_resource_t>(resource), &both);  // a lower limit that stands already is as good
}

// The process that asks may die while the plug-in loops for ever.
void die_with_the_other_end() {
  std::thread([] {
    pollfd end = {kWorkerSocket, POLLRDHUP, 0};
    while (::poll(&end, 1, -1) < 0 && errno == EINTR) {
    }
    ::kill(0, SIGKILL);
  }).detach();
}

class Worker {
 public:
  std::string answer(const std::string& request) {
    Writer reply;
    try {
      reply.number(static_cast<std::uint64_t>(Reply::Done));
      Reader reader(request);
      act(static_cast<Op>(reader.number()), reader, reply);
      return reply.frame();
    } catch (const std::exception& error) {
      Writer failed;
      failed.number(static_cast<std::uint64_t>(Reply::Failed));
      failed.text(error.what());
      return failed.frame();
    }
  }

 private:
  void act(Op op, Reader& in, Writer& out) {
    switch (op) {
      case Op::Open:
        return open(in, out);
      case Op::Create:
        return create(in, out);
      case Op::Score:
        return score(in, out);
      case Op::Applies:
        out.number(reward().applies(RewardInput(wire::read_input(in))) ? 1 : 0);
        return;
      case Op::CheckRow: {
        const Json row = parse_json(in.text());
        const bool has_reference = in.number() != 0;
        const std::string reference(in.text());
        reward().check_row(row, has_reference ? std::optional(reference) : std::nullopt);
        return;
      }
    }
    throw Error("reward worker: unknown request", ErrorKind::Internal);
  }

  void open(Reader& in, Writer& out) {
    const std::uint64_t protocol = in.number();
    GRPO_CHECK(protocol == wire::kProtocol, "grpo-reward-worker is of another version than this program (protocol " +
                                                std::to_string(wire::kProtocol) + ", expected " +
                                                std::to_string(protocol) + ")");
    const std::string path(in.text());
    plugin_ = load_plugin(path, std::string(in.text()));
    wire::write(out, plugin_.declaration);
  }

  void create(Reader& in, Writer& out) {
    GRPO_CHECK(plugin_.table != nullptr, "reward worker: nothing is open");
    const std::string name(in.text());
    reward_ = make_plugin_reward(name, plugin_, parse_json(in.text()).as_list());
    out.real(reward_->range().min);
    out.real(reward_->range().max);
  }

  void score(Reader& in, Writer& out) {
    std::vector<RewardInput> inputs;
    for (std::uint64_t left = in.number(); left > 0; --left) inputs.emplace_back(wire::read_input(in));
    for (const Verdict& verdict : reward().score_group(inputs)) {
      out.real(verdict.score);
      out.text(verdict.verdict);
      out.text(verdict.why);
    }
  }

  const Reward& reward() const {
    GRPO_CHECK(reward_ != nullptr, "reward worker: nothing is created");
    return *reward_;
  }

  Plugin plugin_;
  std::unique_ptr<Reward> reward_;
};

}  // namespace

int serve_reward() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kWorkerSocket, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    std::fputs("grpo-reward-worker: grpo starts it for rewards with `isolation: process`; it does nothing alone\n",
               stderr);
    return 2;
  }
  limit(RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose shadow is larger than any limit
  limit(RLIMIT_AS, kWorkerMemoryBytes);
#endif
  die_with_the_other_end();
  Channel channel(kWorkerSocket);
  Worker worker;
  std::string request;
  while (channel.receive(request, kMaxRequestBytes) == Channel::State::Fine) {
    if (channel.send(worker.answer(request)) != Channel::State::Fine) break;
  }
  return 0;
}

}  // namespace grpo::inline GRPO_ABI
