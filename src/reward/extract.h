// Finding the answer inside the final segment; the public half is extract_answer in <grpo/reward.h>.
#pragma once

#include <optional>
#include <string_view>

namespace grpo::inline GRPO_ABI {

struct BoxedAnswer {
  bool found = false;                       // there is a \boxed{
  std::optional<std::string_view> content;  // of the last one; null when its brace is never closed
};
// The last \boxed{...} with balanced braces (escaped braces do not count); of nested boxes the inner one.
BoxedAnswer last_boxed(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
