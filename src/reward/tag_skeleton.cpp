#include "reward/tag_skeleton.h"

#include <algorithm>

#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::array<std::string_view, kNumTags> kTags = {"<think>", "</think>", "<answer>", "</answer>"};

}  // namespace

TagSkeleton::TagSkeleton(std::string_view completion, bool prefilled) {
  auto add_tag = [&](std::size_t tag) {
    pieces.push_back(static_cast<Piece>(tag));
    ++counts[tag];
  };
  auto add_text = [&](std::string_view text) {
    const std::size_t visible = count_visible(text);
    if (visible == 0) return;
    if (!pieces.empty() && pieces.back() == Piece::ThinkOpen) think_chars += visible;
    pieces.push_back(Piece::Text);
  };
  if (prefilled) add_tag(static_cast<std::size_t>(Piece::ThinkOpen));
  std::size_t text_begin = 0;
  for (std::size_t i = completion.find('<'); i != std::string_view::npos; i = completion.find('<', i + 1)) {
    for (std::size_t tag = 0; tag < kNumTags; ++tag) {
      if (!completion.substr(i).starts_with(kTags[tag])) continue;
      add_text(completion.substr(text_begin, i - text_begin));
      add_tag(tag);
      text_begin = i + kTags[tag].size();
      break;
    }
  }
  add_text(completion.substr(text_begin));
}

std::size_t TagSkeleton::place(Piece tag) const {
  return static_cast<std::size_t>(std::find(pieces.begin(), pieces.end(), tag) - pieces.begin());
}

}  // namespace grpo::inline GRPO_ABI
