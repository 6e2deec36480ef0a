#include <array>

#include <grpo/text.h>

namespace grpo::inline GRPO_ABI {

namespace {

constexpr std::array<std::string_view, 3> kFinishReasons = {"stop", "length", "cancelled"};  // in the enum's order

}  // namespace

std::string_view to_string(FinishReason reason) {
  const auto index = static_cast<std::size_t>(reason);
  GRPO_ASSERT(index < kFinishReasons.size());
  return kFinishReasons[index];
}

FinishReason finish_reason_from(std::string_view name) {
  for (std::size_t i = 0; i < kFinishReasons.size(); ++i) {
    if (kFinishReasons[i] == name) return static_cast<FinishReason>(i);
  }
  throw Error("finish_reason: expected stop, length or cancelled, got '" + std::string(name) + "'");
}

}  // namespace grpo::inline GRPO_ABI
