// A short answer as a value: an exact number where it is one, else its text in one spelling. Linear in the input.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reward/rational.h"

namespace grpo::inline GRPO_ABI {

struct Answer {
  std::string variable;                // "x" of "x = 5"; empty without one
  std::optional<ParsedNumber> number;  // set: the answer is this number
  std::string text;                    // case folded, without wrappers and optional space; empty: there is no answer
  std::string fault;                   // why it cannot be read ("unbalanced braces"); empty: it can
};

// Takes off $..$, \(..\), \boxed{}, \text{}, braces, bold marks, quotes and a final full stop, keeps the last side of
// a chain "x = 3 + 2 = 5", and reads a number if the rest is one.
Answer parse_answer(std::string_view raw);

// Gold decides: p% accepts p%, p/100 and p; a bare number is never scaled. Numbers never equal text; two different
// variables never match.
bool same_answer(const Answer& gold, const Answer& predicted);

}  // namespace grpo::inline GRPO_ABI
