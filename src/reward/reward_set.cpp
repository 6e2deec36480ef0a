#include <grpo/reward.h>

#include <cmath>
#include <limits>
#include <set>

#include "reward/plugin_reward.h"
#include "reward/registry.h"
#include "reward/scoring_pool.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Threads that may hang at one time: each holds its stack and perhaps a core for good, so more would starve the run.
constexpr std::size_t kMaxAbandonedWorkers = 16;

bool is_scalar(const Json& value) { return !value.is_list() && !value.is_object(); }

bool equal_scalars(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.as_double() == b.as_double();  // 1 matches 1.0
  return a == b;
}

// Every column of `when` has the value, or one of the values, that it names.
bool matches(const Json& when, const Json& row) {
  if (when.is_null()) return true;
  for (const auto& [column, wanted] : when.as_object()) {
    const Json* value = row.find(column);
    if (value == nullptr) return false;
    bool found = !wanted.is_list() && equal_scalars(*value, wanted);
    if (wanted.is_list()) {
      for (const Json& one : wanted.as_list()) found = found || equal_scalars(*value, one);
    }
    if (!found) return false;
  }
  return true;
}

void check_entry(const RewardEntry& entry) {
  const std::string at = "rewards." + entry.name;
  GRPO_CHECK(std::isfinite(entry.weight), at + ".weight: expected a finite number");
  GRPO_CHECK(entry.timeout_s > 0, at + ".timeout_s: expected seconds above 0, got " + Json(entry.timeout_s).dump());
  GRPO_CHECK(entry.schedule_end == 0 || entry.schedule_end > entry.schedule_start,
             at + ".schedule: expected end (" + std::to_string(entry.schedule_end) + ") after start (" +
                 std::to_string(entry.schedule_start) + ")");
  GRPO_CHECK(entry.isolation == Isolation::None || !entry.plugin.empty(),
             at + ".isolation: has no effect unless plugin is set; leave it out");
  if (entry.when.is_null()) return;
  GRPO_CHECK(entry.when.is_object() && entry.when.size() > 0,
             at + ".when: expected {column: value or [values]}, got " + entry.when.dump());
  for (const auto& [column, wanted] : entry.when.as_object()) {
    bool scalars = is_scalar(wanted) || (wanted.is_list() && wanted.size() > 0);
    if (wanted.is_list()) {
      for (const Json& one : wanted.as_list()) scalars = scalars && is_scalar(one);
    }
    GRPO_CHECK(scalars, at + ".when." + column + ": expected a value or a list of values, got " + wanted.dump());
  }
}

}  // namespace

struct RewardSet::Impl {
  struct Item {
    std::shared_ptr<const Reward> reward;
    RewardEntry entry;
    RewardRange range;
    RewardFailureCounts counts;
    Timing timing;
  };
  using Groups = std::span<const std::vector<std::shared_ptr<const RewardInput::Data>>>;
  // What went wrong in one rollout, in the order of groups, rewards, samples.
  struct Failures {
    std::set<std::pair<std::size_t, std::size_t>> answers;  // group, sample
    std::string first;                                      // "rewards.name: sample 3 of group 0: what"
    std::string first_thrown;
    std::string gave_up;  // set: scoring was stopped before its end
  };

  std::vector<Item> items;
  ThinkMode think_mode = ThinkMode::Auto;
  double max_failure_fraction = 0.1;
  int threads = 1;
  std::unique_ptr<ScoringPool> pool;
  std::int64_t samples_seen = 0;

  bool is_on(const Item& item, const RewardInput::Data& data) const {
    const RewardEntry& entry = item.entry;
    const bool scheduled =
        data.step >= entry.schedule_start && (entry.schedule_end == 0 || data.step < entry.schedule_end);
    return scheduled && matches(entry.when, data.columns);
  }
  void add(std::unique_ptr<Reward> reward, RewardEntry entry);
  std::vector<std::shared_ptr<GroupCall>> plan(Groups groups) const;
  std::vector<std::shared_ptr<GroupCall>> run(Groups groups, double allowed_failures, Failures& failures);
  void collect(const GroupCall& call, std::int64_t first_sample, GroupScores& scores, Failures& failures);
  void account(Item& item, const Outcome& outcome, std::int64_t sample);
  void add_totals(GroupScores& scores) const;
};

RewardSet::RewardSet() : impl_(std::make_unique<Impl>()) {}
RewardSet::RewardSet(RewardSet&&) noexcept = default;
RewardSet& RewardSet::operator=(RewardSet&&) noexcept = default;
RewardSet::~RewardSet() = default;

RewardSet::RewardSet(std::span<const RewardEntry> entries, std::optional<TemplateKind> template_kind,
                     double max_failure_fraction, ThinkMode think_mode, int threads)
    : RewardSet() {
  GRPO_CHECK(max_failure_fraction >= 0 && max_failure_fraction <= 1,
             "max_failure_fraction: expected 0 to 1, got " + Json(max_failure_fraction).dump());
  GRPO_CHECK(threads >= 1, "RewardSet: expected at least one thread, got " + std::to_string(threads));
  impl_->think_mode = think_mode;
  impl_->max_failure_fraction = max_failure_fraction;
  impl_->threads = threads;
  for (RewardEntry entry : entries) {
    if (entry.name.empty()) entry.name = entry.type;
    if (entry.type.empty()) entry.type = entry.name;
    GRPO_CHECK(!entry.name.empty(), "rewards: expected a name or a type in every entry");
    check_entry(entry);
    auto reward = entry.plugin.empty() ? make_reward(entry.type, entry.name, entry.params, {template_kind})
                                       : make_plugin_reward(entry);
    impl_->add(std::move(reward), std::move(entry));
  }
}

void RewardSet::add(std::unique_ptr<Reward> reward, double weight) {
  GRPO_CHECK(reward != nullptr, "RewardSet::add: expected a reward, got null");
  RewardEntry entry;
  entry.name = reward->name();
  entry.weight = weight;
  add(std::move(reward), std::move(entry));
}

void RewardSet::add(std::unique_ptr<Reward> reward, RewardEntry entry) {
  GRPO_CHECK(reward != nullptr, "RewardSet::add: expected a reward, got null");
  if (entry.name.empty()) entry.name = reward->name();
  GRPO_CHECK(!entry.name.empty(), "RewardSet::add: expected a reward with a name");
  GRPO_CHECK(entry.plugin.empty(), "RewardSet::add: expected no plugin, the reward is here");
  check_entry(entry);
  impl_->add(std::move(reward), std::move(entry));
}

void RewardSet::Impl::add(std::unique_ptr<Reward> reward, RewardEntry entry) {
  for (const Item& item : items) {
    GRPO_CHECK(
        item.entry.name != entry.name,
        "rewards." + entry.name + ": two rewards have this name; give one of them another `name` and its `type`");
  }
  const RewardRange range = reward->range();
  items.push_back({std::move(reward), std::move(entry), range, {}, {}});
}

std::size_t RewardSet::size() const { return impl_->items.size(); }
std::string_view RewardSet::name(std::size_t k) const { return impl_->items.at(k).entry.name; }
MissingReward RewardSet::missing(std::size_t k) const { return impl_->items.at(k).entry.missing; }
std::optional<std::string> RewardSet::answer(std::size_t k, std::shared_ptr<const RewardInput::Data> data) const {
  return impl_->items.at(k).reward->answer(RewardInput(std::move(data), {}, impl_->think_mode));
}
ThinkMode RewardSet::think_mode() const { return impl_->think_mode; }

double RewardSet::weight(std::size_t k, std::int64_t step) const {
  const RewardEntry& entry = impl_->items.at(k).entry;
  const bool is_on = step >= entry.schedule_start && (entry.schedule_end == 0 || step < entry.schedule_end);
  return is_on ? entry.weight : 0.0;
}

void RewardSet::check_row(const Json& row, const std::optional<std::string>& reference) const {
  for (const Impl::Item& item : impl_->items) {
    if (!matches(item.entry.when, row)) continue;
    try {
      item.reward->check_row(row, reference);
    } catch (const Error& error) {
      throw Error("rewards." + item.entry.name + ": " + error.what(), error.kind());
    }
  }
}

std::map<std::string, RewardFailureCounts> RewardSet::failures() const {
  std::map<std::string, RewardFailureCounts> counts;
  for (const Impl::Item& item : impl_->items) counts[item.entry.name] = item.counts;
  return counts;
}

std::map<std::string, RewardSet::Timing> RewardSet::timings() const {
  std::map<std::string, Timing> all;
  for (const Impl::Item& item : impl_->items) all[item.entry.name] = item.timing;
  return all;
}

// One call per group and reward that applies by its `when` and schedule.
std::vector<std::shared_ptr<GroupCall>> RewardSet::Impl::plan(Groups groups) const {
  std::vector<std::shared_ptr<GroupCall>> calls;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::vector<RewardInput> inputs;
    for (const auto& data : groups[g]) inputs.emplace_back(data, CancelToken(), think_mode);
    for (std::size_t k = 0; k < items.size() && !inputs.empty(); ++k) {
      if (!is_on(items[k], *groups[g].front())) continue;
      const RewardEntry& entry = items[k].entry;
      const bool keeps_deadline = entry.isolation == Isolation::Process;  // its worker is killed then
      auto call = std::make_shared<GroupCall>(items[k].reward, inputs,
                                              keeps_deadline ? std::numeric_limits<double>::max() : entry.timeout_s);
      call->group_index = g;
      call->reward_index = k;
      calls.push_back(std::move(call));
    }
  }
  return calls;
}

void RewardSet::Impl::account(Item& item, const Outcome& outcome, std::int64_t sample) {
  RewardFailureCounts& counts = item.counts;
  switch (outcome.cause) {
    case Cause::Scored:
      ++counts.scored;
      break;
    case Cause::Missing:
      ++counts.missing;
      break;
    case Cause::Thrown:
      ++counts.thrown;
      break;
    case Cause::TimedOut:
      ++counts.timed_out;
      break;
    case Cause::Infrastructure:
      ++counts.infrastructure;
      break;
  }
  const double score = outcome.verdict.score;
  if (outcome.cause == Cause::Scored && (score < item.range.min || score > item.range.max)) ++counts.out_of_range;
  item.timing.total_s += outcome.seconds;
  if (item.timing.slowest_sample < 0 || outcome.seconds > item.timing.slowest_s) {
    item.timing.slowest_s = outcome.seconds;
    item.timing.slowest_sample = sample;
  }
}

void RewardSet::Impl::add_totals(GroupScores& scores) const {
  for (std::size_t i = 0; i < scores.verdicts.size(); ++i) {
    double total = 0;
    bool is_scored = false;
    for (std::size_t k = 0; k < items.size(); ++k) {
      if (!scores.applies[k]) continue;
      const RewardEntry& entry = items[k].entry;
      const double score = scores.verdicts[i][k].score;
      is_scored = true;
      if (!std::isnan(score)) {
        total += entry.weight * score;
      } else if (entry.missing == MissingReward::Exclude && entry.weight != 0) {
        total = kNaN;  // a reward of weight 0 only watches
      }
    }
    scores.totals[i] = is_scored ? total : kNaN;
  }
}

std::vector<std::shared_ptr<GroupCall>> RewardSet::Impl::run(Groups groups, double allowed_failures,
                                                             Failures& failures) {
  if (!pool) pool = std::make_unique<ScoringPool>(threads);
  // Each reward may lose the same answers, so only more losses than this are surely too many answers.
  const double allowed_losses = allowed_failures * static_cast<double>(items.size());
  return pool->run(plan(groups), [&](const ScoringPool::Trouble& trouble) {
    const std::string last = "rewards." + items[trouble.last.reward_index].entry.name + " on group " +
                             std::to_string(trouble.last.group_index);
    if (trouble.num_abandoned > kMaxAbandonedWorkers) {
      failures.gave_up = "rewards: " + std::to_string(trouble.num_abandoned) +
                         " calls hang on their threads, more than " + std::to_string(kMaxAbandonedWorkers) +
                         ", the last of " + last + "; `isolation: process` would end them";
      return false;
    }
    if (static_cast<double>(trouble.num_lost) <= allowed_losses) return true;
    failures.gave_up = "max_failure_fraction: scoring was stopped after " + std::to_string(trouble.num_lost) +
                       " timeouts or broken workers, the last of " + last;
    return false;
  });
}

void RewardSet::Impl::collect(const GroupCall& call, std::int64_t first_sample, GroupScores& scores,
                              Failures& failures) {
  Item& item = items[call.reward_index];
  scores.applies[call.reward_index] = call.applies() ? 1 : 0;
  if (!call.applies()) return;
  for (std::size_t i = 0; i < call.outcomes().size(); ++i) {
    const Outcome& outcome = call.outcomes()[i];
    account(item, outcome, first_sample + static_cast<std::int64_t>(i));
    scores.verdicts[i][call.reward_index] = outcome.verdict;
    if (!is_failure(outcome.cause)) continue;
    const std::string text = "rewards." + item.entry.name + ": sample " + std::to_string(i) + " of group " +
                             std::to_string(call.group_index) + ": " + outcome.verdict.why;
    failures.answers.insert({call.group_index, i});
    if (failures.first.empty()) failures.first = text;
    if (failures.first_thrown.empty() && outcome.cause == Cause::Thrown) failures.first_thrown = text;
  }
}

std::vector<GroupScores> RewardSet::score(std::span<const std::vector<std::shared_ptr<const RewardInput::Data>>> groups,
                                          bool first_rollout) {
  std::vector<GroupScores> scores(groups.size());
  std::vector<std::int64_t> first_samples;
  const std::int64_t start = impl_->samples_seen;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    scores[g].verdicts.assign(groups[g].size(), std::vector<Verdict>(size(), {kNaN, "absent", ""}));
    scores[g].applies.assign(size(), 0);
    scores[g].totals.assign(groups[g].size(), kNaN);
    first_samples.push_back(impl_->samples_seen);
    impl_->samples_seen += static_cast<std::int64_t>(groups[g].size());
  }
  const std::int64_t num_answers = impl_->samples_seen - start;
  const double allowed = impl_->max_failure_fraction * static_cast<double>(num_answers);

  Impl::Failures failures;
  for (const auto& call : impl_->run(groups, allowed, failures)) {
    if (call) impl_->collect(*call, first_samples[call->group_index], scores[call->group_index], failures);
  }
  GRPO_CHECK(!first_rollout || failures.first_thrown.empty(), failures.first_thrown);
  if (!failures.gave_up.empty()) throw Error(failures.gave_up, ErrorKind::Guard);
  if (static_cast<double>(failures.answers.size()) > allowed) {
    throw Error("max_failure_fraction: " + std::to_string(failures.answers.size()) + " of " +
                    std::to_string(num_answers) + " answers threw, timed out or broke their worker, more than " +
                    Json(impl_->max_failure_fraction).dump() + "; the first: " + failures.first,
                ErrorKind::Guard);
  }
  for (GroupScores& group : scores) impl_->add_totals(group);
  return scores;
}

}  // namespace grpo::inline GRPO_ABI
