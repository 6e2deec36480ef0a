// Completions, and behind a NUL the reference answer: every built-in reward judges them without throwing.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "reward/answer.h"
#include "reward/prose.h"
#include "reward/rational.h"
#include "reward/registry.h"
#include "reward/unicode.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace grpo;

std::vector<std::unique_ptr<Reward>> make_rewards() {
  std::vector<std::unique_ptr<Reward>> rewards;
  rewards.push_back(make_reward("accuracy", "accuracy", {}, {}));
  rewards.push_back(make_reward("accuracy", "accuracy", parse_json(R"({"extract": ["anchor", "last_number"]})"), {}));
  for (const char* target : {"auto", "en", "ja"}) {
    rewards.push_back(make_reward("language_consistency", "language", Json::Object{{"target", target}}, {}));
  }
  for (const char* mode : {"strict", "strict_think", "soft", "tag_count", "graded", "cosine_template"}) {
    rewards.push_back(make_reward("format", "format", Json::Object{{"mode", mode}}, {}));
  }
  rewards.push_back(make_reward("length", "length", {}, {}));
  rewards.push_back(make_reward("repetition", "repetition", Json::Object{{"unit", "words"}}, {}));
  return rewards;
}

void judge(std::string_view completion, std::string_view reference, ThinkMode mode) {
  static const std::vector<std::unique_ptr<Reward>> rewards = make_rewards();
  auto data = std::make_shared<RewardInput::Data>();
  data->prompt = mode == ThinkMode::None ? "1 + 1 = <think>" : "1 + 1 = ";
  data->completion = completion;
  data->reference = std::string(reference);
  const std::vector<RewardInput> group(2, RewardInput(data, {}, mode));
  for (const auto& reward : rewards) {
    for (const Verdict& verdict : reward->score_group(group)) {
      fuzz::expect(
          std::isnan(verdict.score) || (verdict.score >= reward->range().min && verdict.score <= reward->range().max),
          "a score is NaN or within its range");
    }
  }
}

void parse(std::string_view text) {
  fuzz::expect(number_length(text) <= text.size(), "a number ends with its text");
  const NumberResult parsed = parse_number(fold_characters(text));
  if (parsed.number) fuzz::expect(equal(parsed.number->value, parsed.number->value), "a number equals itself");
  const Answer answer = parse_answer(text);
  if (answer.fault.empty()) fuzz::expect(same_answer(answer, answer), "an answer equals itself");
  prose_of(text);
  count_visible(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto [completion, reference] = fuzz::halves_of(fuzz::text_of(data, size));
  for (const ThinkMode mode : {ThinkMode::Auto, ThinkMode::Required, ThinkMode::None}) {
    judge(completion, reference, mode);
  }
  parse(completion);
  parse(reference);
  return 0;
}
