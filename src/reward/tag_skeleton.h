// The skeleton of a completion: its think and answer tags in order, with the text runs between them.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

enum class Piece : unsigned char { ThinkOpen, ThinkClose, AnswerOpen, AnswerClose, Text };
constexpr std::size_t kNumTags = 4;

// Text runs without a character outside White_Space and Cf are left out. Tags are exact bytes: <THINK>, < think > and
// full-width brackets are text. `prefilled` puts a <think> before the completion. Linear time.
struct TagSkeleton {
  std::vector<Piece> pieces;
  std::size_t think_chars = 0;                 // visible characters directly inside a think pair
  std::array<std::size_t, kNumTags> counts{};  // of each tag

  TagSkeleton(std::string_view completion, bool prefilled);
  std::size_t count(Piece tag) const { return counts[static_cast<std::size_t>(tag)]; }
  // Index in `pieces` of a tag that occurs once.
  std::size_t place(Piece tag) const;
  bool once(Piece open, Piece close) const { return count(open) == 1 && count(close) == 1; }
  // Each of the pair once, the opening one first.
  bool is_pair(Piece open, Piece close) const { return once(open, close) && place(open) < place(close); }
};

}  // namespace grpo::inline GRPO_ABI
