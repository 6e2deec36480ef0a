// Invalid UTF-8 as Python and Rust replace it: one U+FFFD for each maximal part of a character.
#pragma once

#include <string>
#include <string_view>

namespace grpo::inline GRPO_ABI {

std::string replace_invalid_utf8(std::string_view bytes);

// Bytes at the end of `bytes` that more bytes could make a character of.
std::size_t incomplete_utf8_tail(std::string_view bytes);

// For messages: `text` in quotes, its first 80 bytes.
std::string shown(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
