// Scripts of letters, and the script that a language is written in.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace grpo::inline GRPO_ABI {

enum class Script : unsigned char {
  Latin,
  Han,
  Kana,
  Hangul,
  Cyrillic,
  Arabic,
  Hebrew,
  Greek,
  Thai,
  Devanagari,
  Bengali,
  Tamil,
  Telugu,
  Georgian,
  Armenian,
  Other
};
constexpr int kNumScripts = static_cast<int>(Script::Other) + 1;

Script script_of(std::int32_t code);  // of a letter or mark; Other for scripts that are not listed
std::string_view to_string(Script script);

// By the primary subtag of a language code ("zh-CN" is zh); Japanese is Kana. Null: not known here.
std::optional<Script> script_of_language(std::string_view language);

}  // namespace grpo::inline GRPO_ABI
