// Added tokens: those that are found in the text before anything else sees it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // ... and behind it
  bool single_word = false;  // only where no word character touches it
  bool normalized = true;    // looked for in the normalised text
};

// Finds added tokens, the leftmost first and the longest there. const and shareable once built.
class AddedTokens {
 public:
  struct Piece {
    std::string_view text;  // of a token: with the white space that it strips
    std::int32_t id = -1;   // < 0: text between tokens
  };

  // Of tokens with one content the first counts.
  explicit AddedTokens(std::vector<AddedToken> tokens = {});

  // Appends `text` cut at the tokens; `parse_special` false leaves special tokens in the text.
  void split(std::string_view text, bool parse_special, std::vector<Piece>& pieces) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // sorted by content
  std::array<bool, 256> starts_{};  // bytes with which some token starts
};

}  // namespace grpo::inline GRPO_ABI
