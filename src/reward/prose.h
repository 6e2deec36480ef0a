// The part of a text that is written in a natural language.
#pragma once

#include <string>
#include <string_view>

namespace grpo::inline GRPO_ABI {

// Without fenced and inline code, formulas ($, $$, \(, \[, environments), LaTeX commands and think/answer tags; what is
// removed leaves a space. The content of \text{} and \mbox{} inside formulas is prose and stays. Linear time.
std::string prose_of(std::string_view text);

}  // namespace grpo::inline GRPO_ABI
