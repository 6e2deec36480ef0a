#include "reward/plugin_reward.h"

#include <cmath>
#include <deque>
#include <limits>
#include <utility>

#include "reward/isolated_reward.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxShownBytes = 80;

grpo_str c_text(std::string_view text) { return {text.data(), text.size()}; }
std::uint32_t bit(bool is_set, std::uint32_t value) { return is_set ? value : 0; }

// What a handle of grpo_host_v1 points to, for the duration of one call.
struct Row {
  const Json* columns;
  CancelToken cancel;
  std::deque<std::string> texts = {};  // what `column` has given out
};

void expect(bool holds, const char* type, const Json& value) {
  GRPO_CHECK(holds, std::string("expected ") + type + ", got " + value.dump().substr(0, kMaxShownBytes));
}

// A column or a parameter for C; `texts` keeps what has no text of its own yet.
grpo_value_v1 c_value(const Json& value, std::uint32_t type, std::deque<std::string>& texts) {
  const bool is_whole = value.is_number() && value.as_double() == std::floor(value.as_double());
  switch (type) {
    case GRPO_NUMBER:
      expect(value.is_number(), "a number", value);
      return {value.as_double(), 0, {}};
    case GRPO_INTEGER:
      expect(is_whole, "an integer", value);
      return {0, value.as_int(), {}};
    case GRPO_FLAG:
      expect(value.is_bool(), "true or false", value);
      return {0, value.as_bool() ? 1 : 0, {}};
    case GRPO_TEXT:
      expect(value.is_string(), "text", value);
      return {0, 0, c_text(value.as_string())};
    case GRPO_JSON:
      return {0, 0, c_text(texts.emplace_back(value.dump()))};
    default:
      throw Error("the plug-in asks for an unknown type " + std::to_string(type));
  }
}

std::int32_t read_column(const void* handle, grpo_str name, std::uint32_t type, grpo_value_v1* out) {
  Row& row = *const_cast<Row*>(static_cast<const Row*>(handle));
  std::string reason;
  const std::string key = plugin_text(name.p, name.n);
  try {
    const Json* column = row.columns->find(key);
    GRPO_CHECK(column != nullptr, "there is none");
    *out = c_value(*column, type, row.texts);
    return 0;
  } catch (const std::exception& error) {
    reason = error.what();
  }
  out->text = c_text(row.texts.emplace_back("column '" + key + "': " + reason));
  return 1;
}

std::int32_t is_cancelled(const void* handle) { return static_cast<const Row*>(handle)->cancel.cancelled() ? 1 : 0; }

constexpr grpo_host_v1 kHost = {GRPO_PLUGIN_ABI, sizeof(grpo_host_v1), read_column, is_cancelled};

// An answer as the plug-in sees it: pointers into the input.
class AnswerView {
 public:
  explicit AnswerView(const RewardInput& in) : row_{&in.columns(), in.cancel()} {
    for (const Message& message : in.messages()) messages_.push_back({c_text(message.role), c_text(message.content)});
    answer_ = {.struct_size = sizeof(grpo_answer_v1),
               .flags = bit(in.segments().has_final, GRPO_HAS_FINAL_SEGMENT) |
                        bit(in.has_final_answer(), GRPO_HAS_FINAL_ANSWER) |
                        bit(in.has_reference(), GRPO_HAS_REFERENCE) | bit(in.is_evaluation(), GRPO_IS_EVALUATION),
               .finish = static_cast<std::uint32_t>(in.finish_reason()),
               .step = in.step(),
               .prompt = c_text(in.prompt()),
               .completion = c_text(in.completion()),
               .think = c_text(in.think()),
               .final_segment = c_text(in.segments().final_segment),
               .final_answer = c_text(in.final_answer()),
               .reference = c_text(in.reference()),
               .messages = messages_.data(),
               .n_messages = messages_.size(),
               .token_ids = in.token_ids().data(),
               .n_token_ids = in.token_ids().size(),
               .handle = &row_};
  }
  AnswerView(const AnswerView&) = delete;
  AnswerView& operator=(const AnswerView&) = delete;
  const grpo_answer_v1* get() const { return &answer_; }

 private:
  Row row_;
  std::vector<grpo_message_v1> messages_;
  grpo_answer_v1 answer_;
};
static_assert(static_cast<int>(FinishReason::Length) == GRPO_FINISH_LENGTH &&
              static_cast<int>(FinishReason::Cancelled) == GRPO_FINISH_CANCELLED);

class ErrorBuffer {
 public:
  grpo_buffer* get() { return &buffer_; }
  // What the plug-in wrote, if it is more than nothing.
  Error error(const std::string& otherwise) const {
    const std::string text = plugin_text(bytes_, std::min<std::uint64_t>(buffer_.n, sizeof bytes_));
    return Error(text.empty() ? otherwise : text);
  }

 private:
  char bytes_[2048] = {};
  grpo_buffer buffer_ = {bytes_, sizeof bytes_, 0};
};

class PluginReward final : public Reward {
 public:
  PluginReward(std::string name, const Plugin& plugin, const Json::List& values)
      : name_(std::move(name)), table_(*plugin.table), compares_answers_(plugin.declaration.compares_answers) {
    std::vector<grpo_value_v1> c_values;
    std::deque<std::string> texts;
    for (std::size_t i = 0; i < values.size(); ++i) {
      c_values.push_back(c_value(values[i], plugin.declaration.params[i].type, texts));
    }
    ErrorBuffer error;
    if (table_.create(&kHost, c_values.data(), &self_, error.get()) != 0) throw error.error("it refuses its params");
    if (table_.range(self_, &range_.min, &range_.max, error.get()) != 0 || !(range_.min <= range_.max)) {
      table_.destroy(self_);
      throw error.error("its range is empty");
    }
  }
  ~PluginReward() override { table_.destroy(self_); }
  PluginReward(const PluginReward&) = delete;
  PluginReward& operator=(const PluginReward&) = delete;

  std::string_view name() const override { return name_; }
  RewardRange range() const override { return range_; }
  double score(const RewardInput& input) const override { return judge(input).score; }
  Verdict judge(const RewardInput& input) const override { return score_answers({&input, 1}).front(); }
  // One at a time unless the plug-in compares, so that each answer has its own deadline and its own failure.
  std::vector<Verdict> score_group(std::span<const RewardInput> group) const override {
    return compares_answers_ ? score_answers(group) : Reward::score_group(group);
  }

  bool applies(const RewardInput& input) const override {
    if (table_.applies == nullptr) return true;
    const AnswerView view(input);
    ErrorBuffer error;
    const std::int32_t said = table_.applies(self_, view.get(), error.get());
    if (said != 0 && said != 1) throw error.error("applies failed");
    return said == 1;
  }

  void check_row(const Json& row, const std::optional<std::string>& reference) const override {
    if (table_.check_row == nullptr) return;
    auto data = std::make_shared<RewardInput::Data>();
    data->columns = row;
    data->reference = reference;
    const RewardInput input(std::move(data));
    const AnswerView view(input);
    ErrorBuffer error;
    if (table_.check_row(self_, view.get(), error.get()) != 0) throw error.error("the plug-in refuses this row");
  }

 private:
  std::vector<Verdict> score_answers(std::span<const RewardInput> group) const {
    std::deque<AnswerView> views;
    std::vector<const grpo_answer_v1*> answers;
    for (const RewardInput& input : group) answers.push_back(views.emplace_back(input).get());
    std::vector<grpo_verdict_v1> written(group.size(), {std::numeric_limits<double>::quiet_NaN(), {}, {}});
    ErrorBuffer error;
    const std::int64_t count = table_.score(self_, answers.data(), answers.size(), written.data(), error.get());
    if (count < 0) throw error.error("the plug-in failed without a word");
    GRPO_CHECK(
        count == static_cast<std::int64_t>(group.size()),
        "the plug-in returned " + std::to_string(count) + " verdicts for " + std::to_string(group.size()) + " answers");
    std::vector<Verdict> verdicts;
    verdicts.reserve(written.size());
    for (const grpo_verdict_v1& one : written) {
      verdicts.push_back(
          {one.score, plugin_text(one.verdict, sizeof one.verdict), plugin_text(one.why, sizeof one.why)});
    }
    return verdicts;
  }

  std::string name_;
  const grpo_reward_v1& table_;
  bool compares_answers_;
  void* self_ = nullptr;
  RewardRange range_;
};

}  // namespace

std::unique_ptr<Reward> make_plugin_reward(const std::string& name, const Plugin& plugin, const Json::List& values) {
  return std::make_unique<PluginReward>(name, plugin, values);
}

std::unique_ptr<Reward> make_plugin_reward(const RewardEntry& entry) {
  if (entry.isolation == Isolation::Process) return make_isolated_reward(entry);
  Plugin plugin;
  try {
    plugin = load_plugin(entry.plugin, entry.type);
  } catch (const Error& error) {
    throw Error("rewards." + entry.name + ".plugin: " + error.what());
  }
  const Json::List values = plugin_values(plugin.declaration, entry.name, entry.params);
  try {
    return make_plugin_reward(entry.name, plugin, values);
  } catch (const Error& error) {
    throw Error("rewards." + entry.name + ".params: " + error.what());
  }
}

}  // namespace grpo::inline GRPO_ABI
