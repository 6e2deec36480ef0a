// The words of a text by the script they are written in.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "reward/scripts.h"

namespace grpo::inline GRPO_ABI {

using ScriptCounts = std::array<std::int64_t, kNumScripts>;
inline std::int64_t& of_script(ScriptCounts& counts, Script script) { return counts[static_cast<std::size_t>(script)]; }

// Words of the prose in `text` (no code, formulas, addresses, identifiers). Han and kana count one a character, every
// other script one a word.
ScriptCounts count_words(std::string_view text);
// Of equal counts Latin is the weakest: "x" with a Korean particle is Korean.
Script majority(const ScriptCounts& counts);
std::int64_t total(const ScriptCounts& counts);

}  // namespace grpo::inline GRPO_ABI
