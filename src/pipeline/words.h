// Text as the words that it is compared by.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

// Runs of letters, marks and digits with case and full-width forms folded; everything else separates. Words of their
// own are each Han or kana character, and + - * / ^ % = < > beside a digit, not doubled: "3+4" and "3-4" are two
// problems, "well-known" and "well known" are one. Linear time.
std::vector<std::string> words_of(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
