#include "reward/group_call.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <utility>

namespace grpo::inline GRPO_ABI {
namespace {

thread_local GroupCall* t_call = nullptr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Outcome thrown(const std::string& error, double seconds) { return {{kNaN, "error", error}, Cause::Thrown, seconds}; }

// Of the exception being handled.
Outcome current_failure() {
  try {
    throw;
  } catch (const RewardFailure& failure) {
    const char* verdict = failure.cause == Cause::TimedOut ? "timeout" : "infrastructure";
    return {{kNaN, verdict, failure.what()}, failure.cause, 0};
  } catch (const std::exception& error) {
    return thrown(error.what(), 0);
  } catch (...) {
    return thrown("an exception that is no std::exception", 0);
  }
}

Outcome timed_out(double seconds) {
  return {{kNaN, "timeout", "the reward took longer than its timeout_s"}, Cause::TimedOut, seconds};
}

Outcome classified(Verdict verdict, double seconds) {
  if (std::isinf(verdict.score)) return thrown(verdict.score > 0 ? "returned inf" : "returned -inf", seconds);
  const Cause cause = std::isnan(verdict.score) ? Cause::Missing : Cause::Scored;
  if (verdict.verdict.empty()) verdict.verdict = cause == Cause::Missing ? "missing" : "scored";
  return {std::move(verdict), cause, seconds};
}

}  // namespace

GroupCall::GroupCall(std::shared_ptr<const Reward> reward, std::span<const RewardInput> group, double timeout_s)
    : reward_(std::move(reward)), timeout_s_(timeout_s), outcomes_(group.size()), judged_(group.size()) {
  for (std::size_t i = 0; i < group.size(); ++i) {
    inputs_.emplace_back(group[i], cancel_);
    places_.push_back(i);
  }
}

GroupCall* GroupCall::current() { return t_call; }

void GroupCall::start() {
  const std::lock_guard lock(mutex_);
  started_ = Clock::now();
}

void GroupCall::execute() {
  const Clock::time_point begin = Clock::now();
  t_call = this;
  try {
    applies_ = !ask_applies_ || reward_->applies(inputs_.front());
    if (applies_) settle(reward_->score_group(inputs_), seconds_since(begin));
  } catch (...) {
    const Outcome failure = current_failure();
    if (failure.cause != Cause::Thrown) num_lost_ += static_cast<std::int64_t>(places_.size());
    settle_all(failure);
  }
  t_call = nullptr;
}

Verdict GroupCall::judge(const Reward& reward, const RewardInput& input) {
  // Another reward, or an answer that is not of this call: a composite at work, whose call has the one deadline.
  const std::less<const RewardInput*> before;
  const RewardInput* const end = inputs_.data() + inputs_.size();
  const bool is_ours = &reward == reward_.get() && !before(&input, inputs_.data()) && before(&input, end);
  if (!is_ours) return reward.judge(input);
  if (cancel_.cancelled()) return {kNaN, "cancelled", ""};
  const auto index = static_cast<std::size_t>(&input - inputs_.data());
  const Clock::time_point begin = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (judged_[index]) return judged_[index]->verdict;
    judging_ = index;
  }
  Outcome outcome;
  try {
    outcome = classified(reward.judge(input), 0);
  } catch (...) {
    outcome = current_failure();
    if (outcome.cause != Cause::Thrown) ++num_lost_;
  }
  outcome.seconds = seconds_since(begin);
  Verdict verdict = outcome.verdict;
  finish(index, std::move(outcome));
  return verdict;
}

void GroupCall::finish(std::size_t index, Outcome outcome) {
  const std::lock_guard lock(mutex_);
  judged_[index] = std::move(outcome);
  judging_.reset();
  started_ = Clock::now();  // the next answer's clock
}

// `verdicts` are what score_group returned. An override that builds on the default may have changed the scores of the
// answers that were judged, but not the failures.
void GroupCall::settle(const std::vector<Verdict>& verdicts, double seconds) {
  if (verdicts.size() != inputs_.size()) {
    settle_all(thrown("score_group returned " + std::to_string(verdicts.size()) + " verdicts for " +
                          std::to_string(inputs_.size()) + " answers",
                      0));
    return;
  }
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const std::optional<Outcome>& known = judged_[i];
    const double own_seconds = known ? known->seconds : i == 0 ? seconds : 0;
    outcomes_[places_[i]] = known && is_failure(known->cause) ? *known : classified(verdicts[i], own_seconds);
  }
}

void GroupCall::settle_all(const Outcome& outcome) {
  for (const std::size_t place : places_) outcomes_[place] = outcome;
}

Clock::time_point GroupCall::deadline() const {
  const std::lock_guard lock(mutex_);
  constexpr double kForever = 1e8;  // three years, far from the clock's overflow
  const std::chrono::duration<double> allowed(std::min(timeout_s_, kForever));
  return started_ + std::chrono::duration_cast<Clock::duration>(allowed);
}

std::shared_ptr<GroupCall> GroupCall::after_timeout() {
  cancel_.cancel();
  const std::lock_guard lock(mutex_);
  std::shared_ptr<GroupCall> rest(new GroupCall(Remainder{}));
  rest->reward_ = reward_;
  rest->timed_out_ = timed_out_;
  rest->timeout_s_ = timeout_s_;
  rest->reward_index = reward_index;
  rest->group_index = group_index;
  rest->ask_applies_ = !judging_;
  rest->outcomes_.resize(places_.size() + timed_out_.size());
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (!judging_ || *judging_ == i) {
      rest->timed_out_.push_back(places_[i]);
    } else {
      rest->inputs_.emplace_back(inputs_[i], rest->cancel_);
      rest->places_.push_back(places_[i]);
      rest->judged_.push_back(judged_[i]);
    }
  }
  for (const std::size_t place : rest->timed_out_) rest->outcomes_[place] = timed_out(timeout_s_);
  return rest;
}

}  // namespace grpo::inline GRPO_ABI
