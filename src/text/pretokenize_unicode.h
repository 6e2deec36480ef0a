// Character classes as the Rust `tokenizers` library sees them, whatever Unicode version PCRE2 and utf8proc have.
//
// That library mixes three: its regex engine knows Unicode 16, its digits 17, its NFC none of what came after 9.
// All texts here are well-formed UTF-8. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

// The code point at the front of `text`, which is not empty; `length` becomes its bytes.
std::uint32_t front_code(std::string_view text, std::size_t& length);

// `text` with each character that is newer than Unicode 14 replaced by an older one of the same category, script (as
// far as patterns can name it) and length in bytes; nothing when there is none.
std::optional<std::string> with_older_characters(std::string_view text);

bool is_white_space(std::uint32_t code);
bool is_numeric(std::uint32_t code);  // Rust's char::is_numeric
bool is_word(std::uint32_t code);     // \w of Rust's regex crate

// A stretch that normalisation has changed.
struct Rewrite {
  std::size_t from, to;    // bytes of the text
  std::size_t begin, end;  // bytes of the result
};
// Normalisation form C; characters younger than Unicode 9 pass as they are. Linear but for runs of combining marks,
// which are sorted. `rewrites`, if any, becomes what has changed, in order.
std::string nfc(std::string_view text, std::vector<Rewrite>* rewrites = nullptr);

}  // namespace grpo::inline GRPO_ABI
