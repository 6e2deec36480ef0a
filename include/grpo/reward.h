// Rewards: one virtual function for a user's own, a set that runs them with weights, missing values and deadlines.
//
// A reward is const when it scores and may be called from several threads at once. Inputs are owned by the call, so a
// reward that outlives its deadline never reads freed memory. Rules for missing values: docs/extending.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <grpo/config.h>
#include <grpo/error.h>
#include <grpo/json.h>
#include <grpo/text.h>

namespace grpo::inline GRPO_ABI {

enum class ThinkMode { Auto, Required, None };

// Where an answer's parts lie. `final_segment` starts after the last </think>; unclosed thinking has none.
struct Segments {
  std::string_view think;  // inside the first <think> ... last </think>; empty without tags
  std::string_view final_segment;
  bool has_final = false;  // false: thinking was never closed, or the mode wants tags and there are none
};
GRPO_API Segments split_segments(std::string_view completion, std::string_view prompt, ThinkMode mode);

// The model's answer inside the final segment: last well-formed <verifier_answer>, then <answer>, then the last
// \boxed{}, then `extract` in order ("anchor": after "answer is", "=", "Answer:"; "last_number"). Null: no answer.
GRPO_API std::optional<std::string> extract_answer(const Segments& segments, std::span<const std::string> extract = {});

class GRPO_API CancelToken {
 public:
  CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
  bool cancelled() const { return flag_->load(std::memory_order_relaxed); }
  void cancel() const { flag_->store(true, std::memory_order_relaxed); }

 private:
  std::shared_ptr<std::atomic<bool>> flag_;
};

// One answer to score. Cheap to copy (shared, immutable data).
class GRPO_API RewardInput {
 public:
  struct Data {
    std::string prompt;  // as the model saw it
    std::vector<Message> messages;
    std::string completion;  // no special tokens, no stop string
    std::vector<std::int32_t> token_ids;
    FinishReason finish_reason = FinishReason::Stop;
    std::optional<std::string> reference;
    Json columns;  // the dataset row
    std::int64_t step = 0;
    bool is_evaluation = false;
    ThinkMode think_mode = ThinkMode::Auto;  // Auto: the mode of the set that scores
  };
  explicit RewardInput(std::shared_ptr<const Data> data, CancelToken cancel = {},
                       ThinkMode think_mode = ThinkMode::Auto);
  RewardInput(const RewardInput& other, CancelToken cancel);  // the same answer for another call

  std::string_view prompt() const { return data_->prompt; }
  std::span<const Message> messages() const { return data_->messages; }
  std::string_view completion() const { return data_->completion; }
  std::string_view think() const { return segments_.think; }
  const Segments& segments() const { return segments_; }
  // The model's answer by the default order, "" when there is none.
  const std::string& final_answer() const { return final_answer_; }
  bool has_final_answer() const { return has_final_answer_; }
  std::string_view reference() const {
    return data_->reference ? std::string_view(*data_->reference) : std::string_view();
  }
  bool has_reference() const { return data_->reference.has_value(); }
  // A column of the row: std::string, double, std::int64_t, bool, Json. Throws Error naming the columns there are.
  template <class T>
  T column(std::string_view name) const;
  const Json& columns() const { return data_->columns; }
  std::span<const std::int32_t> token_ids() const { return data_->token_ids; }
  FinishReason finish_reason() const { return data_->finish_reason; }
  ThinkMode think_mode() const { return think_mode_; }  // the one that segments() follow
  std::int64_t step() const { return data_->step; }
  bool is_evaluation() const { return data_->is_evaluation; }
  const CancelToken& cancel() const { return cancel_; }

 private:
  std::shared_ptr<const Data> data_;
  CancelToken cancel_;
  ThinkMode think_mode_ = ThinkMode::Auto;
  Segments segments_;
  std::string final_answer_;
  bool has_final_answer_ = false;
};

struct RewardRange {
  double min = 0.0;
  double max = 1.0;
};

// A score with its reason. `verdict` is a short stable code ("correct", "no_answer"), `why` a sentence for people.
struct Verdict {
  double score = 0.0;  // NaN: this sample cannot be scored
  std::string verdict;
  std::string why;
};

class GRPO_API Reward {
 public:
  virtual ~Reward() = default;
  virtual std::string_view name() const = 0;
  virtual double score(const RewardInput& input) const = 0;  // NaN: this sample cannot be scored
  // With a reason; the default wraps `score`. Override this one or `score`, not both with different results.
  virtual Verdict judge(const RewardInput& input) const;
  // All answers of one prompt; the default calls `judge` for each. Override to compare answers.
  virtual std::vector<Verdict> score_group(std::span<const RewardInput> group) const;
  // Asked about the first answer of a group; false: absent for that whole group.
  virtual bool applies(const RewardInput&) const { return true; }
  // What `score` may return; `min` is for answers that themselves make scoring fail. Values outside are counted.
  virtual RewardRange range() const { return {}; }
  // Complains (throws) about a row that it could never score; called when a dataset loads.
  virtual void check_row(const Json& /*row*/, const std::optional<std::string>& /*reference*/) const {}
  // What it reads as the answer, for votes: equal answers in one spelling; null: none. By default final_answer().
  virtual std::optional<std::string> answer(const RewardInput& input) const;
};

// `params`: object or null, already free of `name`, `weight` ... Unknown keys must throw: check_params.
using RewardFactory = std::function<std::unique_ptr<Reward>(const std::string& name, const Json& params)>;
// Before load_config; a second registration of a type throws. The built-in types are always there.
GRPO_API void register_reward(const std::string& type, RewardFactory factory);
GRPO_API std::vector<std::string> reward_types();
// Refuses keys of `params` beyond `allowed`, naming the nearest one.
GRPO_API void check_params(const std::string& reward, const Json& params, std::span<const std::string_view> allowed);

// One row per sample of one group, one column per reward of the set.
struct GroupScores {
  std::vector<std::vector<Verdict>> verdicts;  // [sample][reward]; score NaN where missing
  std::vector<std::uint8_t> applies;           // [reward]
  std::vector<double> totals;                  // weighted sum per sample; NaN where it cannot be scored
};

// Per answer. The first five add up to the answers that the reward was asked about.
struct RewardFailureCounts {
  std::int64_t scored = 0;
  std::int64_t missing = 0;  // NaN by the reward's own word
  std::int64_t thrown = 0;   // threw, or returned an infinity
  std::int64_t timed_out = 0;
  std::int64_t infrastructure = 0;  // its worker process died
  std::int64_t out_of_range = 0;    // of the scored: outside range()
};

// Rewards with weights. Movable; `score` is called by one thread and uses its own workers.
class GRPO_API RewardSet {
 public:
  RewardSet();
  // From `rewards:` entries. `template_kind` decides what `format` means by default. Throws Error.
  RewardSet(std::span<const RewardEntry> entries, std::optional<TemplateKind> template_kind,
            double max_failure_fraction, ThinkMode think_mode, int threads = 1);
  RewardSet(RewardSet&&) noexcept;
  RewardSet& operator=(RewardSet&&) noexcept;
  ~RewardSet();

  void add(std::unique_ptr<Reward> reward, double weight = 1.0);
  void add(std::unique_ptr<Reward> reward, RewardEntry entry);
  std::size_t size() const;
  std::string_view name(std::size_t k) const;
  double weight(std::size_t k, std::int64_t step) const;  // 0 outside its schedule
  MissingReward missing(std::size_t k) const;
  // The answer that reward k reads out of a completion; null: none.
  std::optional<std::string> answer(std::size_t k, std::shared_ptr<const RewardInput::Data> data) const;
  ThinkMode think_mode() const;

  // Scores groups. `timeout_s` bounds each `judge`, or a whole overridden `score_group`; a call that exceeds it is
  // abandoned on its thread, never joined, or its worker process is killed. `first_rollout` makes a throwing reward an
  // Error instead of NaN. Throws Error(Guard) when more than max_failure_fraction of these answers threw, timed out or
  // broke their worker in some reward, or when more than 16 abandoned calls hang.
  std::vector<GroupScores> score(std::span<const std::vector<std::shared_ptr<const RewardInput::Data>>> groups,
                                 bool first_rollout);
  void check_row(const Json& row, const std::optional<std::string>& reference) const;
  std::map<std::string, RewardFailureCounts> failures() const;  // since construction
  // Cumulative wall time of each reward, and its slowest sample (counted over all calls of `score`); for
  // `grpo score --summary`.
  struct Timing {
    double total_s = 0, slowest_s = 0;
    std::int64_t slowest_sample = -1;
  };
  std::map<std::string, Timing> timings() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace grpo::inline GRPO_ABI
