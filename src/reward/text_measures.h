// What a text is like, whatever it scores: for the metrics of a rollout. Each is linear in the text's length.
#pragma once

#include <cstdint>
#include <string_view>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

// Words by which an author goes back over what he wrote: the ten that DeepSeek-R1 counts (supplement C.2: wait,
// mistake, however, but, retry, error, verify, wrong, evaluate, check), as whole words in any case, and Chinese ones.
std::int64_t count_reflective_words(std::string_view text);
// Share of the 3-grams of words that stood in the text before; 0 below three words.
double repeated_share(std::string_view text);
// Share of the words that are not in the text's main script; 0 without words.
double mixed_share(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
