#include "reward/scripts.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>

namespace grpo::inline GRPO_ABI {
namespace {

struct Range {
  std::int32_t first, last;
  Script script;
};
// Blocks in ascending order; combining marks and symbols between them count as Other.
constexpr Range kRanges[] = {
    {0x0041, 0x024F, Script::Latin},      {0x0250, 0x02AF, Script::Latin},    {0x0370, 0x03FF, Script::Greek},
    {0x0400, 0x052F, Script::Cyrillic},   {0x0531, 0x058F, Script::Armenian}, {0x0591, 0x05FF, Script::Hebrew},
    {0x0600, 0x06FF, Script::Arabic},     {0x0750, 0x077F, Script::Arabic},   {0x08A0, 0x08FF, Script::Arabic},
    {0x0900, 0x097F, Script::Devanagari}, {0x0980, 0x09FF, Script::Bengali},  {0x0B80, 0x0BFF, Script::Tamil},
    {0x0C00, 0x0C7F, Script::Telugu},     {0x0E00, 0x0E7F, Script::Thai},     {0x10A0, 0x10FF, Script::Georgian},
    {0x1100, 0x11FF, Script::Hangul},     {0x1C80, 0x1C8F, Script::Cyrillic}, {0x1C90, 0x1CBF, Script::Georgian},
    {0x1E00, 0x1EFF, Script::Latin},      {0x1F00, 0x1FFF, Script::Greek},    {0x2DE0, 0x2DFF, Script::Cyrillic},
    {0x2E80, 0x2FDF, Script::Han},        {0x3005, 0x3007, Script::Han},      {0x3041, 0x30FF, Script::Kana},
    {0x3100, 0x312F, Script::Han},        {0x3130, 0x318F, Script::Hangul},   {0x31A0, 0x31BF, Script::Han},
    {0x31F0, 0x31FF, Script::Kana},       {0x3400, 0x4DBF, Script::Han},      {0x4E00, 0x9FFF, Script::Han},
    {0xA640, 0xA69F, Script::Cyrillic},   {0xA720, 0xA7FF, Script::Latin},    {0xA960, 0xA97F, Script::Hangul},
    {0xAB30, 0xAB6F, Script::Latin},      {0xAC00, 0xD7FF, Script::Hangul},   {0xF900, 0xFAFF, Script::Han},
    {0xFB00, 0xFB06, Script::Latin},      {0xFB1D, 0xFB4F, Script::Hebrew},   {0xFB50, 0xFDFF, Script::Arabic},
    {0xFE70, 0xFEFC, Script::Arabic},     {0xFF21, 0xFF5A, Script::Latin},    {0xFF66, 0xFF9F, Script::Kana},
    {0xFFA0, 0xFFDC, Script::Hangul},     {0x1AFF0, 0x1B16F, Script::Kana},   {0x20000, 0x3FFFD, Script::Han},
};

struct LanguageSet {
  Script script;
  std::string_view languages;  // primary subtags, each between spaces
};
constexpr LanguageSet kLanguages[] = {
    {Script::Latin,
     " en de fr es it pt nl sv da no nb nn fi is pl cs sk sl hr bs hu ro tr az uz et lv lt sq ca gl eu ga cy mt af id "
     "ms "
     "jv tl fil vi sw so ha yo ig zu xh la eo lb ht "},
    {Script::Han, " zh yue wuu "},
    {Script::Kana, " ja "},
    {Script::Hangul, " ko "},
    {Script::Cyrillic, " ru uk be bg sr mk kk ky tg mn tt "},
    {Script::Arabic, " ar fa ur ps ug ckb sd "},
    {Script::Hebrew, " he yi "},
    {Script::Greek, " el "},
    {Script::Thai, " th "},
    {Script::Devanagari, " hi mr ne sa "},
    {Script::Bengali, " bn as "},
    {Script::Tamil, " ta "},
    {Script::Telugu, " te "},
    {Script::Georgian, " ka "},
    {Script::Armenian, " hy "},
};

}  // namespace

Script script_of(std::int32_t code) {
  const auto after = std::upper_bound(std::begin(kRanges), std::end(kRanges), code,
                                      [](std::int32_t value, const Range& range) { return value < range.first; });
  if (after == std::begin(kRanges) || code > std::prev(after)->last) return Script::Other;
  return std::prev(after)->script;
}

std::string_view to_string(Script script) {
  constexpr std::array<std::string_view, kNumScripts> kNames = {
      "Latin", "Han",        "Kana",    "Hangul", "Cyrillic", "Arabic",   "Hebrew",   "Greek",
      "Thai",  "Devanagari", "Bengali", "Tamil",  "Telugu",   "Georgian", "Armenian", "other"};
  return kNames[static_cast<std::size_t>(script)];
}

std::optional<Script> script_of_language(std::string_view language) {
  std::string tag(language.substr(0, language.find_first_of("-_")));
  for (char& c : tag) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (tag.empty() || tag.find(' ') != std::string::npos) return std::nullopt;
  for (const LanguageSet& set : kLanguages) {
    if (set.languages.find(" " + tag + " ") != std::string_view::npos) return set.script;
  }
  return std::nullopt;
}

}  // namespace grpo::inline GRPO_ABI
