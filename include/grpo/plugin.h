// Rewards in a shared library of their own: `rewards: [{name: brevity, plugin: libbrevity.so}]`.
//
// Derive from grpo::plugin::Reward and name the class in GRPO_REWARD_PLUGIN. Header-only: a plug-in needs no library of
// grpo and no LibTorch, and what crosses the border is the C of <grpo/plugin_abi.h>. Worked through in
// docs/extending.md.
#pragma once

#include <grpo/plugin_abi.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace grpo::plugin {

inline grpo_str to_c(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view from_c(grpo_str text) { return {text.n > 0 ? text.p : "", text.n}; }

// A declared parameter: Parameter::number("limit", 40, "characters").at_least(1).
class Parameter {
 public:
  static Parameter number(std::string name, double value, std::string doc) {
    return {GRPO_NUMBER, std::move(name), std::move(doc), {value, 0, {}}, {}};
  }
  static Parameter integer(std::string name, std::int64_t value, std::string doc) {
    return {GRPO_INTEGER, std::move(name), std::move(doc), {0, value, {}}, {}};
  }
  static Parameter flag(std::string name, bool value, std::string doc) {
    return {GRPO_FLAG, std::move(name), std::move(doc), {0, value ? 1 : 0, {}}, {}};
  }
  static Parameter text(std::string name, std::string value, std::string doc) {
    return {GRPO_TEXT, std::move(name), std::move(doc), {}, std::move(value)};
  }
  Parameter at_least(double low) && { return low_ = low, std::move(*this); }
  Parameter between(double low, double high) && { return low_ = low, high_ = high, std::move(*this); }
  Parameter required() && { return is_required_ = true, std::move(*this); }  // the run file must set it

  const std::string& name() const { return name_; }
  std::uint32_t type() const { return type_; }
  grpo_param_v1 c_view() const {  // into this object
    grpo_value_v1 value = default_;
    value.text = to_c(default_text_);
    return {sizeof(grpo_param_v1), type_, to_c(name_), to_c(doc_), value, is_required_ ? 1u : 0u, low_, high_};
  }

 private:
  Parameter(std::uint32_t type, std::string name, std::string doc, grpo_value_v1 value, std::string text)
      : type_(type), name_(std::move(name)), doc_(std::move(doc)), default_(value), default_text_(std::move(text)) {}

  std::uint32_t type_;
  std::string name_, doc_;
  grpo_value_v1 default_;
  std::string default_text_;
  bool is_required_ = false;
  double low_ = -std::numeric_limits<double>::infinity(), high_ = std::numeric_limits<double>::infinity();
};

// What a reward says of itself: `static Declaration declaration()`.
struct Declaration {
  std::string type;  // as run files name it
  std::string doc = {};
  std::vector<Parameter> parameters = {};
};

// The checked values of the declared parameters.
class Params {
 public:
  Params(const Declaration& declaration, const grpo_value_v1* values) : declaration_(declaration), values_(values) {}
  double number(std::string_view name) const { return value(name, GRPO_NUMBER).number; }
  std::int64_t integer(std::string_view name) const { return value(name, GRPO_INTEGER).integer; }
  bool flag(std::string_view name) const { return value(name, GRPO_FLAG).integer != 0; }
  std::string text(std::string_view name) const { return std::string(from_c(value(name, GRPO_TEXT).text)); }

 private:
  const grpo_value_v1& value(std::string_view name, std::uint32_t type) const {
    for (std::size_t i = 0; i < declaration_.parameters.size(); ++i) {
      const Parameter& parameter = declaration_.parameters[i];
      if (parameter.name() == name && parameter.type() == type) return values_[i];
    }
    throw std::logic_error("the plug-in declares no parameter '" + std::string(name) + "' of this type");
  }
  const Declaration& declaration_;
  const grpo_value_v1* values_;
};

enum class FinishReason { Stop, Length, Cancelled };
struct Message {
  std::string_view role, content;
};
struct Range {
  double min = 0, max = 1;
};
struct Verdict {
  double score = 0;  // NaN: this answer cannot be scored
  std::string verdict = {};
  std::string why = {};
};
struct Json {  // column<Json>: the value as JSON text
  std::string text;
};

// One answer to score, as grpo::RewardInput. A view: valid during the call that brings it.
class RewardInput {
 public:
  RewardInput(const grpo_answer_v1* answer, const grpo_host_v1* host) : answer_(answer), host_(host) {}
  std::string_view prompt() const { return from_c(answer_->prompt); }
  std::vector<Message> messages() const {
    std::vector<Message> all;
    for (std::uint64_t i = 0; i < answer_->n_messages; ++i) {
      all.push_back({from_c(answer_->messages[i].role), from_c(answer_->messages[i].content)});
    }
    return all;
  }
  std::string_view completion() const { return from_c(answer_->completion); }
  std::string_view think() const { return from_c(answer_->think); }
  std::string_view final_segment() const { return from_c(answer_->final_segment); }
  bool has_final_segment() const { return (answer_->flags & GRPO_HAS_FINAL_SEGMENT) != 0; }
  std::string_view final_answer() const { return from_c(answer_->final_answer); }
  bool has_final_answer() const { return (answer_->flags & GRPO_HAS_FINAL_ANSWER) != 0; }
  std::string_view reference() const { return from_c(answer_->reference); }
  bool has_reference() const { return (answer_->flags & GRPO_HAS_REFERENCE) != 0; }
  // A column of the row: std::string, double, std::int64_t, bool, Json. Throws when there is none of that type.
  template <class T>
  T column(std::string_view name) const {
    grpo_value_v1 value = {};
    if constexpr (std::is_same_v<T, double>) {
      return get(name, GRPO_NUMBER, value), value.number;
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
      return get(name, GRPO_INTEGER, value), value.integer;
    } else if constexpr (std::is_same_v<T, bool>) {
      return get(name, GRPO_FLAG, value), value.integer != 0;
    } else if constexpr (std::is_same_v<T, Json>) {
      return get(name, GRPO_JSON, value), Json{std::string(from_c(value.text))};
    } else {
      static_assert(std::is_same_v<T, std::string>, "std::string, double, std::int64_t, bool or Json");
      return get(name, GRPO_TEXT, value), std::string(from_c(value.text));
    }
  }
  std::span<const std::int32_t> token_ids() const { return {answer_->token_ids, answer_->n_token_ids}; }
  FinishReason finish_reason() const { return static_cast<FinishReason>(answer_->finish); }
  std::int64_t step() const { return answer_->step; }
  bool is_evaluation() const { return (answer_->flags & GRPO_IS_EVALUATION) != 0; }
  bool cancelled() const { return host_->cancelled(answer_->handle) != 0; }

 private:
  void get(std::string_view name, std::uint32_t type, grpo_value_v1& value) const {
    if (host_->column(answer_->handle, to_c(name), type, &value) != 0) {
      throw std::runtime_error(std::string(from_c(value.text)));
    }
  }
  const grpo_answer_v1* answer_;
  const grpo_host_v1* host_;
};

// As grpo::Reward, with the same defaults. Implement `score` or `judge`; a class that overrides `score_group` gets all
// answers of a prompt at once. The class has a constructor from `const Params&` and a static `declaration()`.
class Reward {
 public:
  virtual ~Reward() = default;
  virtual double score(const RewardInput&) const { return std::numeric_limits<double>::quiet_NaN(); }
  virtual Verdict judge(const RewardInput& input) const { return {score(input)}; }
  virtual std::vector<Verdict> score_group(std::span<const RewardInput> group) const {
    std::vector<Verdict> verdicts;
    for (const RewardInput& input : group) verdicts.push_back(judge(input));
    return verdicts;
  }
  virtual bool applies(const RewardInput&) const { return true; }
  virtual Range range() const { return {}; }
  virtual void check_row(const RewardInput&) const {}  // its reference and columns only; throws to complain
};

// The C table of a class. Hidden, so that classes of one name in two plug-ins do not share their statics.
template <class T>
class __attribute__((visibility("hidden"))) Adapter {
 public:
  static const grpo_reward_v1* table() noexcept {
    try {
      return &get().table_;
    } catch (...) {
      return nullptr;  // no declaration, no reward
    }
  }

 private:
  struct Instance {
    const grpo_host_v1* host;
    T reward;
  };
  // A member that T does not override keeps the type of Reward's.
  template <class Own, class Default>
  static constexpr bool kOverrides = !std::is_same_v<Own, Default>;

  static const Adapter& get() {
    static const Adapter adapter;
    return adapter;
  }
  Adapter() : declaration_(T::declaration()) {
    for (const Parameter& parameter : declaration_.parameters) params_.push_back(parameter.c_view());
    for (const grpo_param_v1& param : params_) pointers_.push_back(&param);
    table_ = {GRPO_PLUGIN_ABI,
              sizeof(grpo_reward_v1),
              to_c(declaration_.type),
              to_c(declaration_.doc),
              0,
              pointers_.data(),
              pointers_.size(),
              create,
              destroy,
              range,
              score,
              nullptr,
              nullptr};
    if (kOverrides<decltype(&T::score_group), decltype(&Reward::score_group)>) table_.flags |= GRPO_COMPARES_ANSWERS;
    if (kOverrides<decltype(&T::applies), decltype(&Reward::applies)>) table_.applies = applies;
    if (kOverrides<decltype(&T::check_row), decltype(&Reward::check_row)>) table_.check_row = check_row;
  }

  // Nothing is thrown into the host.
  template <class Result, class Action>
  static Result guarded(Result failed, grpo_buffer* error, Action&& action) noexcept {
    try {
      return action();
    } catch (const std::exception& exception) {
      tell(error, exception.what());
    } catch (...) {
      tell(error, "an exception that is no std::exception");
    }
    return failed;
  }
  static void tell(grpo_buffer* error, const char* text) {
    error->n = std::min<std::uint64_t>(std::strlen(text), error->capacity);
    std::memcpy(error->p, text, error->n);
  }
  template <std::size_t N>
  static void copy(char (&to)[N], const std::string& from) {
    std::size_t n = std::min(from.size(), N);
    if (n < from.size()) {
      while (n > 0 && (static_cast<unsigned char>(from[n]) & 0xC0) == 0x80) --n;  // not inside a character
    }
    std::memset(to, 0, N);
    std::memcpy(to, from.data(), n);
  }
  static const Instance& instance(const void* self) { return *static_cast<const Instance*>(self); }

  static std::int32_t create(const grpo_host_v1* host, const grpo_value_v1* values, void** self, grpo_buffer* error) {
    return guarded<std::int32_t>(1, error, [&] {
      *self = new Instance{host, T(Params(get().declaration_, values))};
      return 0;
    });
  }
  static void destroy(void* self) { delete static_cast<Instance*>(self); }
  static std::int32_t range(const void* self, double* min, double* max, grpo_buffer* error) {
    return guarded<std::int32_t>(1, error, [&] {
      const Range range = instance(self).reward.range();
      *min = range.min;
      *max = range.max;
      return 0;
    });
  }
  static std::int64_t score(const void* self, const grpo_answer_v1* const* answers, std::uint64_t n,
                            grpo_verdict_v1* out, grpo_buffer* error) {
    return guarded<std::int64_t>(-1, error, [&]() -> std::int64_t {
      std::vector<RewardInput> inputs;
      for (std::uint64_t i = 0; i < n; ++i) inputs.emplace_back(answers[i], instance(self).host);
      const std::vector<Verdict> verdicts = instance(self).reward.score_group(inputs);
      for (std::size_t i = 0; i < verdicts.size() && i < n; ++i) {
        out[i].score = verdicts[i].score;
        copy(out[i].verdict, verdicts[i].verdict);
        copy(out[i].why, verdicts[i].why);
      }
      return static_cast<std::int64_t>(verdicts.size());
    });
  }
  static std::int32_t applies(const void* self, const grpo_answer_v1* answer, grpo_buffer* error) {
    return guarded<std::int32_t>(
        -1, error, [&] { return instance(self).reward.applies(RewardInput(answer, instance(self).host)) ? 1 : 0; });
  }
  static std::int32_t check_row(const void* self, const grpo_answer_v1* row, grpo_buffer* error) {
    return guarded<std::int32_t>(1, error, [&] {
      instance(self).reward.check_row(RewardInput(row, instance(self).host));
      return 0;
    });
  }

  Declaration declaration_;
  std::vector<grpo_param_v1> params_;
  std::vector<const grpo_param_v1*> pointers_;
  grpo_reward_v1 table_;
};

// The table of the class at `index`, null after the last.
template <class... Rewards>
const grpo_reward_v1* reward_at(std::uint32_t index) noexcept {
  const grpo_reward_v1* (*const tables[])() noexcept = {&Adapter<Rewards>::table...};
  return index < sizeof...(Rewards) ? tables[index]() : nullptr;
}

}  // namespace grpo::plugin

// Once in a plug-in, at namespace scope: GRPO_REWARD_PLUGIN(Brevity) or GRPO_REWARD_PLUGIN(Brevity, Politeness).
#define GRPO_REWARD_PLUGIN(...)                                                                \
  extern "C" const grpo_reward_v1* grpo_reward_plugin(uint32_t /*host_abi*/, uint32_t index) { \
    return ::grpo::plugin::reward_at<__VA_ARGS__>(index);                                      \
  }
