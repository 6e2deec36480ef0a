// Text as Python sees it: code points, white space, case. Bytes that are no UTF-8 count as one character each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace grpo::jinja {

std::size_t next_character(std::string_view text, std::size_t start);  // offset of the one after it
std::size_t count_characters(std::string_view text);
std::size_t character_offset(std::string_view text, std::size_t count);  // bytes of the first `count` characters
std::uint32_t character_at(std::string_view text, std::size_t start);    // U+FFFD for a byte that is no UTF-8

bool is_space(std::uint32_t code);      // str.isspace, and what strip() and split() mean by it
bool is_printable(std::uint32_t code);  // else repr() escapes it
bool is_letter(std::uint32_t code);
bool is_digit(std::uint32_t code);

// Without `characters`: white space.
enum class Side { Left, Right, Both };
std::string_view strip(std::string_view text, Side side, const std::string* characters = nullptr);

// Simple case mapping of each character; sharp s becomes "SS" in upper case.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);        // str.title: a word is a run of letters
std::string title_words(std::string_view text);  // Jinja's filter: words begin after white space and any of - ( { [ <

}  // namespace grpo::jinja
