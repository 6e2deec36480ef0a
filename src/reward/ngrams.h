// How much of a text says the same again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

// The same number for the same word, without regard to case; zero-width characters do not tell words apart. Han, kana
// and Thai, which are written without spaces, count by character.
std::vector<std::int32_t> word_ids(std::string_view text);

struct NgramCount {
  std::size_t total = 0, distinct = 0;  // total 0: fewer units than one n-gram
};
// Linear in the number of units, times log(size).
NgramCount count_ngrams(std::span<const std::int32_t> ids, std::size_t size);

}  // namespace grpo::inline GRPO_ABI
