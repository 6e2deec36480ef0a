// repetition: a penalty for saying the same again (open-r1): (1 - distinct n-grams / n-grams) * max_penalty.
//
// Units are words without regard to case; Han, kana and Thai, which are written without spaces, count by character.
// `unit: tokens` takes token ids instead (TRL). Fewer units than one n-gram: 0. Linear time.
#include <algorithm>
#include <limits>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/fields.h"
#include "reward/params.h"
#include "reward/registry.h"
#include "reward/scripts.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct RepetitionParams {
  std::int64_t ngram_size = 3;
  double max_penalty = -1;
  std::string unit = "words";
};

const fields::Fields<RepetitionParams>& repetition_fields() {
  using S = RepetitionParams;
  static const fields::Fields<S> rows = {
      fields::integer("ngram_size", &S::ngram_size, fields::between(1, 64), "units of an n-gram"),
      fields::number("max_penalty", &S::max_penalty, {.high = 0}, "score of an answer that only repeats"),
      fields::choice("unit", &S::unit, {"words", "tokens"}, "what n-grams are made of"),
  };
  return rows;
}

bool goes_without_spaces(std::int32_t code) {
  if (code < 0x0E00) return false;
  const Script script = script_of(code);
  return script == Script::Han || script == Script::Kana || script == Script::Thai;
}

// The same number for the same word. Zero-width characters do not tell words apart.
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

class Repetition final : public Reward {
 public:
  Repetition(std::string name, RepetitionParams params) : name_(std::move(name)), params_(std::move(params)) {}

  std::string_view name() const override { return name_; }
  RewardRange range() const override { return {params_.max_penalty, 0}; }
  double score(const RewardInput& input) const override { return judge(input).score; }

  Verdict judge(const RewardInput& input) const override {
    if (params_.unit == "words") return judge(word_ids(input.completion()));
    if (input.token_ids().empty()) {
      return {std::numeric_limits<double>::quiet_NaN(), "no_tokens", "the answer came without token ids"};
    }
    return judge(input.token_ids());
  }

 private:
  Verdict judge(std::span<const std::int32_t> ids) const {
    const auto size = static_cast<std::size_t>(params_.ngram_size);
    if (ids.size() < size) return {0, "too_short", std::to_string(ids.size()) + " " + params_.unit};
    const std::size_t total = ids.size() - size + 1, distinct = count_distinct(ids, size);
    const std::string why =
        std::to_string(distinct) + " of " + std::to_string(total) + " " + std::to_string(size) + "-grams are distinct";
    if (distinct == total) return {0, "no_repetition", why};
    return {static_cast<double>(total - distinct) / static_cast<double>(total) * params_.max_penalty, "repeats", why};
  }

  std::string name_;
  RepetitionParams params_;
};

}  // namespace

std::unique_ptr<Reward> make_repetition(const std::string& name, const Json& params, const RewardContext&) {
  RepetitionParams chosen;
  if (!params.is_null()) fields::read_fields(repetition_fields(), chosen, params, params_context(name));
  return std::make_unique<Repetition>(name, std::move(chosen));
}

}  // namespace grpo::inline GRPO_ABI
