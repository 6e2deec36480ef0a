// One reward at work on the answers of one prompt: owned inputs, progress that a supervisor can read, outcomes.
//
// A call is run by one worker thread and watched by one supervisor. What both touch while it runs is behind `mutex_`;
// the rest is constant or the worker's own until the call has finished. A call that outlives its deadline is left to
// its worker, and the supervisor goes on with the one that `after_timeout` gives.
#pragma once

#include <grpo/reward.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace grpo::inline GRPO_ABI {

using Clock = std::chrono::steady_clock;

enum class Cause : std::uint8_t { Scored, Missing, Thrown, TimedOut, Infrastructure };
inline bool is_failure(Cause cause) { return cause >= Cause::Thrown; }
struct Outcome {
  Verdict verdict;  // of failures: `why` says what happened
  Cause cause = Cause::Scored;
  double seconds = 0;
};

// What a reward throws that keeps its deadline by itself, or whose scoring has broken down elsewhere.
class RewardFailure : public Error {
 public:
  RewardFailure(Cause why, const std::string& message) : Error(message), cause(why) {}
  Cause cause;  // TimedOut or Infrastructure
};

class GroupCall {
 public:
  GroupCall(std::shared_ptr<const Reward> reward, std::span<const RewardInput> group, double timeout_s);

  // Worker. `start` sets the clock; `execute` asks `applies`, then scores; exceptions become outcomes.
  void start();
  void execute();
  // Worker, for Reward::score_group's default: scores one answer, with its own deadline and its own failure.
  Verdict judge(const Reward& reward, const RewardInput& input);
  // The call that this thread executes; null on every other thread.
  static GroupCall* current();

  // Supervisor, while it runs.
  Clock::time_point deadline() const;
  // What is left once the deadline has passed: the answer that hung is settled as timed out (all of them when it was no
  // single one), scores that are known are kept. Cancels this call's token.
  std::shared_ptr<GroupCall> after_timeout();
  bool has_work() const { return !inputs_.empty(); }

  // Anyone, once it has finished.
  bool applies() const { return applies_; }
  std::int64_t num_lost() const { return num_lost_; }  // answers that the reward itself gave up with a RewardFailure
  const std::vector<Outcome>& outcomes() const { return outcomes_; }  // by place in the group
  std::size_t reward_index = 0, group_index = 0;                      // the caller's address

 private:
  struct Remainder {};
  explicit GroupCall(Remainder) {}
  void finish(std::size_t index, Outcome outcome);
  void settle(const std::vector<Verdict>& verdicts, double seconds);
  void settle_all(const Outcome& outcome);

  std::shared_ptr<const Reward> reward_;
  std::vector<RewardInput> inputs_;
  std::vector<std::size_t> places_;     // of inputs_ in the group
  std::vector<std::size_t> timed_out_;  // places settled by earlier calls
  CancelToken cancel_;
  double timeout_s_ = 0;
  bool ask_applies_ = true;
  bool applies_ = true;
  std::int64_t num_lost_ = 0;
  std::vector<Outcome> outcomes_;

  mutable std::mutex mutex_;
  Clock::time_point started_;
  std::optional<std::size_t> judging_;          // index of the answer that `judge` works on
  std::vector<std::optional<Outcome>> judged_;  // by index
};

}  // namespace grpo::inline GRPO_ABI
