#include "reward/segments.h"

#include <grpo/reward.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::size_t kNone = std::string_view::npos;

}  // namespace

bool ends_inside_think(std::string_view prompt) {
  const std::size_t open = prompt.rfind(kOpen);
  if (open == kNone) return false;
  return prompt.find(kClose, open) == kNone;
}

Segments split_segments(std::string_view completion, std::string_view prompt, ThinkMode mode) {
  Segments segments;
  if (mode == ThinkMode::None) {
    segments.final_segment = completion;
    segments.has_final = true;
    return segments;
  }
  const std::size_t first_open = completion.find(kOpen);
  const std::size_t first_close = completion.find(kClose);
  const bool prefilled = ends_inside_think(prompt);
  if (first_open == kNone && first_close == kNone && !prefilled) {
    if (mode == ThinkMode::Auto) segments.final_segment = completion;
    segments.has_final = mode == ThinkMode::Auto;
    return segments;
  }
  // A text that starts by closing was opened before it began.
  const bool opened_before = prefilled || first_close < first_open;
  const std::size_t think_begin = opened_before ? 0 : first_open + kOpen.size();
  const std::size_t last_close = completion.rfind(kClose);
  // Thinking that opens again after the last </think> and stays open has no answer either.
  const bool closed = last_close != kNone && completion.find(kOpen, last_close) == kNone;
  if (closed) {
    segments.think = completion.substr(think_begin, last_close - think_begin);
    segments.final_segment = completion.substr(last_close + kClose.size());
    segments.has_final = true;
  } else {
    segments.think = completion.substr(think_begin);
  }
  return segments;
}

}  // namespace grpo::inline GRPO_ABI
