// language_consistency: the share of target-language words in the thinking (DeepSeek-R1, section 2.3.2), by script.
//
// Words as word_scripts.h counts them. Scripts tell zh, ja, ko, ru, ar ... from each other and from Latin, but not en
// from de: for a Latin target every Latin word is a word of the target.
#include <memory>
#include <utility>

#include "reward/registry.h"
#include "reward/word_scripts.h"

namespace grpo::inline GRPO_ABI {
namespace {

// The question, without the instructions that a template puts around it where that is known.
std::string_view question(const RewardInput& input) {
  for (std::size_t i = input.messages().size(); i-- > 0;) {
    if (input.messages()[i].role == "user") return input.messages()[i].content;
  }
  return input.prompt();
}

struct LanguageParams {
  std::string column;            // "column:<name>"
  std::optional<Script> script;  // of a fixed target; neither: the prompt decides
  std::int64_t min_words = 8;    // fewer words are smoothed towards one half
  double empty_value = 0;        // no words at all
};

class LanguageConsistency final : public Reward {
 public:
  LanguageConsistency(std::string name, LanguageParams params) : name_(std::move(name)), params_(std::move(params)) {}

  std::string_view name() const override { return name_; }
  double score(const RewardInput& input) const override { return judge(input).score; }

  // A prompt without words (3+4=) has no language to keep to.
  bool applies(const RewardInput& input) const override {
    return params_.script || !params_.column.empty() || prompt_script(input);
  }

  Verdict judge(const RewardInput& input) const override {
    const Script target = target_script(input);
    ScriptCounts counts = count_words(thinking(input));
    const std::int64_t words = total(counts), wanted = of_script(counts, target);
    const std::string why =
        std::to_string(wanted) + " of " + std::to_string(words) + " words are " + std::string(to_string(target));
    if (words == 0) return {params_.empty_value, "no_words", "no words in the thinking"};
    if (words < params_.min_words) {
      return {static_cast<double>(wanted + 1) / static_cast<double>(words + 2), "few_words", why};
    }
    return {static_cast<double>(wanted) / static_cast<double>(words), wanted == words ? "consistent" : "mixed", why};
  }

  void check_row(const Json& row, const std::optional<std::string>&) const override {
    if (params_.column.empty()) return;
    const std::string where = row.where().empty() ? "" : row.where() + ": ";
    const Json* language = row.find(params_.column);
    GRPO_CHECK(language != nullptr, where + "expected a column '" + params_.column + "' with a language code");
    GRPO_CHECK(language->is_string() && script_of_language(language->as_string()),
               where + "column '" + params_.column + "': expected a language code, got " + language->dump());
  }

 private:
  static std::optional<Script> prompt_script(const RewardInput& input) {
    const ScriptCounts counts = count_words(question(input));
    if (total(counts) == 0) return std::nullopt;
    return majority(counts);
  }

  Script target_script(const RewardInput& input) const {
    if (params_.script) return *params_.script;
    if (params_.column.empty()) return prompt_script(input).value_or(Script::Latin);
    const std::string language = input.column<std::string>(params_.column);
    const std::optional<Script> script = script_of_language(language);
    GRPO_CHECK(script, "column '" + params_.column + "': expected a language code, got '" + language + "'");
    return *script;
  }

  // The whole text when it has no thinking part at all.
  static std::string_view thinking(const RewardInput& input) {
    const Segments& segments = input.segments();
    const bool has_format = segments.final_segment.size() != input.completion().size() || !segments.has_final;
    return has_format ? segments.think : input.completion();
  }

  std::string name_;
  LanguageParams params_;
};

}  // namespace

std::unique_ptr<Reward> make_language_consistency(const std::string& name, const Json& params, const RewardContext&) {
  constexpr std::string_view kAllowed[] = {"target", "min_words", "empty_value"};
  constexpr std::string_view kColumn = "column:";
  check_params(name, params, kAllowed);
  const std::string path = "rewards." + name + ".params.";
  LanguageParams chosen;
  if (const Json* target = params.find("target"); target != nullptr && *target != Json("auto")) {
    const std::string& text = target->as_string();
    if (text.starts_with(kColumn)) {
      chosen.column = text.substr(kColumn.size());
      GRPO_CHECK(!chosen.column.empty(), path + "target: expected a name after 'column:'");
    } else {
      chosen.script = script_of_language(text);
      GRPO_CHECK(
          chosen.script,
          path + "target: expected auto, column:<name> or a language code (en, zh, ja ...), got " + target->dump());
    }
  }
  if (const Json* words = params.find("min_words")) {
    GRPO_CHECK(words->as_int() >= 0, path + "min_words: expected 0 or more, got " + words->dump());
    chosen.min_words = words->as_int();
  }
  if (const Json* value = params.find("empty_value")) {
    GRPO_CHECK(value->as_double() >= 0 && value->as_double() <= 1,
               path + "empty_value: expected 0 to 1, got " + value->dump());
    chosen.empty_value = value->as_double();
  }
  return std::make_unique<LanguageConsistency>(name, std::move(chosen));
}

}  // namespace grpo::inline GRPO_ABI
