#include "reward/ngrams.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "reward/scripts.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

bool goes_without_spaces(std::int32_t code) {
  if (code < 0x0E00) return false;
  const Script script = script_of(code);
  return script == Script::Han || script == Script::Kana || script == Script::Thai;
}

// Numbers windows that each consist of two, `offset` apart: the same number for the same pair.
std::vector<std::int32_t> joined(std::span<const std::int32_t> numbers, std::size_t offset) {
  std::unordered_map<std::uint64_t, std::int32_t> known;
  std::vector<std::int32_t> pairs(numbers.size() - offset);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const std::uint64_t first = static_cast<std::uint32_t>(numbers[i]);
    const std::uint64_t key = first << 32 | static_cast<std::uint32_t>(numbers[i + offset]);
    pairs[i] = known.emplace(key, static_cast<std::int32_t>(known.size())).first->second;
  }
  return pairs;
}

// Windows double until two of them, overlapping, cover an n-gram.
std::size_t count_distinct(std::span<const std::int32_t> ids, std::size_t size) {
  std::vector<std::int32_t> numbers = joined(ids, 0);
  std::size_t width = 1;
  for (; 2 * width <= size; width *= 2) numbers = joined(numbers, width);
  if (width < size) numbers = joined(numbers, size - width);
  return static_cast<std::size_t>(*std::max_element(numbers.begin(), numbers.end())) + 1;
}

}  // namespace

std::vector<std::int32_t> word_ids(std::string_view text) {
  std::unordered_map<std::string, std::int32_t> known;
  std::vector<std::int32_t> ids;
  std::string word;
  auto end_word = [&] {
    if (word.empty()) return;
    ids.push_back(known.emplace(fold_case(word), static_cast<std::int32_t>(known.size())).first->second);
    word.clear();
  };
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    const std::string_view bytes = text.substr(i, point.length);
    i += point.length;
    if (is_format_control(point.value)) continue;
    const bool is_space = is_white_space(point.value), stands_alone = goes_without_spaces(point.value);
    if (is_space || stands_alone) end_word();
    if (!is_space) word += bytes;
    if (stands_alone) end_word();
  }
  end_word();
  return ids;
}

NgramCount count_ngrams(std::span<const std::int32_t> ids, std::size_t size) {
  if (ids.size() < size) return {};
  return {ids.size() - size + 1, count_distinct(ids, size)};
}

}  // namespace grpo::inline GRPO_ABI
