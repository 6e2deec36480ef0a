// repetition: a penalty for saying the same again (open-r1): (1 - distinct n-grams / n-grams) * max_penalty.
//
// Units are words (ngrams.h); `unit: tokens` takes token ids instead (TRL). Fewer units than one n-gram: 0.
#include <limits>
#include <memory>
#include <utility>

#include "base/fields.h"
#include "reward/ngrams.h"
#include "reward/params.h"
#include "reward/registry.h"

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
    const auto [total, distinct] = count_ngrams(ids, size);
    if (total == 0) return {0, "too_short", std::to_string(ids.size()) + " " + params_.unit};
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
