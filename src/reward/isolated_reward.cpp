#include "reward/isolated_reward.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

#include "reward/group_call.h"
#include "reward/plugin_library.h"
#include "reward/wire.h"
#include "reward/worker_process.h"

namespace grpo::inline GRPO_ABI {
namespace {

using wire::Op;
using wire::Reader;
using wire::Writer;

// For loading the library and creating the reward: disks may be cold, and no answer waits in vain meanwhile.
constexpr double kStartSeconds = 60;

Clock::time_point in_seconds(double seconds) {
  constexpr double kForever = 1e8;  // three years, far from the clock's overflow
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(seconds, kForever)));
}

Writer request(Op op) {
  Writer writer;
  writer.number(static_cast<std::uint64_t>(op));
  return writer;
}

class IsolatedReward final : public Reward {
 public:
  explicit IsolatedReward(const RewardEntry& entry) : name_(entry.name), timeout_s_(entry.timeout_s) {
    Writer open = request(Op::Open);
    open.number(wire::kProtocol);
    open.text(entry.plugin);
    open.text(entry.type);
    open_ = open.frame();
    auto worker = first_worker();
    const std::string opened = said(*worker, open_, ".plugin: ");
    Reader declared(opened);
    declaration_ = wire::read_declaration(declared);
    Writer create = request(Op::Create);
    create.text(name_);
    create.text(Json(plugin_values(declaration_, name_, entry.params)).dump());
    create_ = create.frame();
    const std::string created = said(*worker, create_, ".params: ");
    Reader range(created);
    range_.min = range.real();
    range_.max = range.real();
    idle_.push_back(std::move(worker));
  }

  std::string_view name() const override { return name_; }
  RewardRange range() const override { return range_; }
  double score(const RewardInput& input) const override { return judge(input).score; }
  Verdict judge(const RewardInput& input) const override { return score_answers({&input, 1}).front(); }
  std::vector<Verdict> score_group(std::span<const RewardInput> group) const override {
    return declaration_.compares_answers ? score_answers(group) : Reward::score_group(group);
  }

  bool applies(const RewardInput& input) const override {
    if (!declaration_.has_applies) return true;
    Writer writer = request(Op::Applies);
    wire::write(writer, input);
    const std::string reply = ask(writer.frame());
    return Reader(reply).number() != 0;
  }

  void check_row(const Json& row, const std::optional<std::string>& reference) const override {
    if (!declaration_.has_check_row) return;
    Writer writer = request(Op::CheckRow);
    writer.text(row.dump());
    writer.number(reference ? 1 : 0);
    writer.text(reference ? *reference : "");
    ask(writer.frame());
  }

 private:
  std::vector<Verdict> score_answers(std::span<const RewardInput> group) const {
    Writer writer = request(Op::Score);
    writer.number(group.size());
    for (const RewardInput& input : group) wire::write(writer, input);
    const std::string reply = ask(writer.frame());
    Reader reader(reply);
    std::vector<Verdict> verdicts(group.size());
    for (Verdict& verdict : verdicts) {
      verdict.score = reader.real();
      verdict.verdict = reader.text();
      verdict.why = reader.text();
    }
    return verdicts;
  }

  // The rest of a reply after its status. What the plug-in itself complains of is an Error.
  static std::string rest_of(const std::string& reply) {
    Reader reader(reply);
    if (reader.number() == static_cast<std::uint64_t>(wire::Reply::Failed)) throw Error(std::string(reader.text()));
    return reply.substr(sizeof(std::uint64_t));
  }

  // What goes wrong with the first worker is an error of the run file.
  std::unique_ptr<WorkerProcess> first_worker() const {
    try {
      return std::make_unique<WorkerProcess>();
    } catch (const Error& error) {
      throw Error("rewards." + name_ + ".isolation: " + error.what(), error.kind());
    }
  }
  std::string said(WorkerProcess& worker, const std::string& frame, const char* place) const {
    try {
      return rest_of(worker.ask(frame, in_seconds(kStartSeconds)));
    } catch (const Error& error) {
      throw Error("rewards." + name_ + place + error.what());
    }
  }

  std::unique_ptr<WorkerProcess> take() const {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto worker = std::move(idle_.back());
        idle_.pop_back();
        return worker;
      }
    }
    try {
      auto worker = std::make_unique<WorkerProcess>();
      rest_of(worker->ask(open_, in_seconds(kStartSeconds)));
      rest_of(worker->ask(create_, in_seconds(kStartSeconds)));
      return worker;
    } catch (const std::exception& error) {
      throw RewardFailure(Cause::Infrastructure, std::string("cannot start another worker: ") + error.what());
    }
  }

  std::string ask(const std::string& frame) const {
    auto worker = take();
    std::string reply = worker->ask(frame, in_seconds(timeout_s_));  // if it throws, the worker is gone
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(worker));
    }
    return rest_of(reply);
  }

  std::string name_;
  double timeout_s_;
  std::string open_, create_;  // the two requests that every worker starts with
  PluginDeclaration declaration_;
  RewardRange range_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WorkerProcess>> idle_;
};

}  // namespace

std::unique_ptr<Reward> make_isolated_reward(const RewardEntry& entry) {
  return std::make_unique<IsolatedReward>(entry);
}

}  // namespace grpo::inline GRPO_ABI
