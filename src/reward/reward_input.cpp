#include <grpo/reward.h>

#include <type_traits>

namespace grpo::inline GRPO_ABI {
namespace {

std::string known_columns(const Json& columns) {
  if (!columns.is_object() || columns.size() == 0) return "this row has no columns";
  std::string list;
  for (const auto& [key, value] : columns.as_object()) list += (list.empty() ? "" : ", ") + key;
  return "this row has: " + list;
}

}  // namespace

RewardInput::RewardInput(std::shared_ptr<const Data> data, CancelToken cancel, ThinkMode think_mode)
    : data_(std::move(data)), cancel_(std::move(cancel)) {
  GRPO_CHECK(data_ != nullptr, "RewardInput: expected data, got null");
  think_mode_ = data_->think_mode == ThinkMode::Auto ? think_mode : data_->think_mode;
  segments_ = split_segments(data_->completion, data_->prompt, think_mode_);
  if (auto answer = extract_answer(segments_)) {
    final_answer_ = std::move(*answer);
    has_final_answer_ = true;
  }
}

RewardInput::RewardInput(const RewardInput& other, CancelToken cancel) : RewardInput(other) {
  cancel_ = std::move(cancel);
}

template <class T>
T RewardInput::column(std::string_view name) const {
  const Json* value = data_->columns.find(name);
  GRPO_CHECK(value != nullptr,
             "RewardInput::column: no column '" + std::string(name) + "'; " + known_columns(data_->columns));
  try {
    if constexpr (std::is_same_v<T, std::string>) {
      return value->as_string();
    } else if constexpr (std::is_same_v<T, double>) {
      return value->as_double();
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
      return value->as_int();
    } else if constexpr (std::is_same_v<T, bool>) {
      return value->as_bool();
    } else {
      return *value;
    }
  } catch (const Error& error) {
    throw Error("RewardInput::column: column '" + std::string(name) + "': " + error.what());
  }
}

template std::string RewardInput::column<std::string>(std::string_view) const;
template double RewardInput::column<double>(std::string_view) const;
template std::int64_t RewardInput::column<std::int64_t>(std::string_view) const;
template bool RewardInput::column<bool>(std::string_view) const;
template Json RewardInput::column<Json>(std::string_view) const;

}  // namespace grpo::inline GRPO_ABI
