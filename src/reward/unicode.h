// Code points of untrusted text: whatever the bytes, iteration advances and never reads past the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace grpo::inline GRPO_ABI {

struct CodePoint {
  std::int32_t value = 0;  // U+FFFD for a byte that starts no well-formed character
  std::size_t length = 1;  // in bytes
};
CodePoint code_point_at(std::string_view text, std::size_t position);

bool is_white_space(std::int32_t code);     // Unicode White_Space
bool is_format_control(std::int32_t code);  // category Cf: zero-width and bidirectional marks, byte order mark
bool is_letter(std::int32_t code);          // categories L*
bool is_mark(std::int32_t code);            // categories M*: accents and vowel signs that belong to a letter
bool is_number(std::int32_t code);          // categories N*

std::size_t count_characters(std::string_view text);
// Characters outside White_Space and Cf.
std::size_t count_visible(std::string_view text);
// Without White_Space and Cf at both ends.
std::string_view trim(std::string_view text);

// One spelling for what means the same in an answer: full-width forms and minus signs to ASCII, white space
// but the line feed to ' ', U+2009 and U+202F (digit grouping) to "\,", vulgar fractions to " a/b", x and . of products
// to \times and \cdot; Cf is dropped. Superscripts stay, because 10 squared is not 102.
std::string fold_characters(std::string_view text);
// Case folding after canonical composition. Text beyond 4 KiB folds in ASCII only: reordering combining marks is
// quadratic in the longest run of them.
std::string fold_case(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
