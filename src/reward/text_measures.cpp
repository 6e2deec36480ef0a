#include "reward/text_measures.h"

#include <algorithm>
#include <array>
#include <string>

#include "reward/ngrams.h"
#include "reward/word_scripts.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::array<std::string_view, 10> kEnglish = {"but",     "check", "error",  "evaluate", "however",
                                                       "mistake", "retry", "verify", "wait",     "wrong"};
static_assert(std::is_sorted(kEnglish.begin(), kEnglish.end()));
// Wait (two ways), but, however, not right, mistake, check, verify, try again, think again.
constexpr std::array<std::string_view, 10> kChinese = {"等等", "等一下", "但是", "然而", "不对",
                                                       "错误", "检查",   "验证", "重试", "再想想"};

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

std::int64_t count_reflective_words(std::string_view text) {
  std::int64_t count = 0;
  std::string word;
  for (std::size_t i = 0; i < text.size();) {
    word.clear();
    for (; i < text.size() && is_word_character(text[i]); ++i)
      word += text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
    if (std::binary_search(kEnglish.begin(), kEnglish.end(), word)) ++count;
    if (i == text.size()) break;
    const auto found = std::find_if(kChinese.begin(), kChinese.end(), [rest = text.substr(i)](std::string_view phrase) {
      return rest.starts_with(phrase);
    });
    if (found != kChinese.end()) ++count;
    i += found != kChinese.end() ? found->size() : 1;
  }
  return count;
}

double repeated_share(std::string_view text) {
  const NgramCount ngrams = count_ngrams(word_ids(text), 3);
  if (ngrams.total == 0) return 0;
  return static_cast<double>(ngrams.total - ngrams.distinct) / static_cast<double>(ngrams.total);
}

double mixed_share(std::string_view text) {
  ScriptCounts counts = count_words(text);
  const std::int64_t words = total(counts), main = of_script(counts, majority(counts));
  return words == 0 ? 0 : static_cast<double>(words - main) / static_cast<double>(words);
}

}  // namespace grpo::inline GRPO_ABI
