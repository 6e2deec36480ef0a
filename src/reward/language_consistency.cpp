// language_consistency: the share of target-language words in the thinking (DeepSeek-R1, section 2.3.2), by script.
//
// Han and kana count one a character, every other script one a word. Scripts tell zh, ja, ko, ru, ar ... from each
// other and from Latin, but not en from de: for a Latin target every Latin word is a word of the target.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "reward/prose.h"
#include "reward/registry.h"
#include "reward/scripts.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Counts = std::array<std::int64_t, kNumScripts>;
std::int64_t& at(Counts& counts, Script script) { return counts[static_cast<std::size_t>(script)]; }

bool is_cjk(std::int32_t code) {
  if (code < 0x2E80) return false;
  const Script script = script_of(code);
  return script == Script::Han || script == Script::Kana || (code >= 0x3000 && code <= 0x303F) ||
         (code >= 0xFF01 && code <= 0xFF20);
}

bool is_ascii_digit(std::int32_t code) { return code >= '0' && code <= '9'; }
bool is_upper(std::int32_t code) { return code >= 'A' && code <= 'Z'; }
bool is_lower(std::int32_t code) { return code >= 'a' && code <= 'z'; }

// URLs, addresses and file paths among the characters between two spaces.
bool is_reference(const std::vector<std::int32_t>& chunk) {
  int slashes = 0;
  bool dot_after_slash = false, at_sign = false, scheme = false;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    const bool inside = i > 0 && i + 1 < chunk.size();
    if (chunk[i] == '/' || chunk[i] == '\\') ++slashes;
    if (chunk[i] == '.' && inside && slashes > 0) dot_after_slash = true;
    if (chunk[i] == '@' && inside) at_sign = true;
    if (chunk[i] == ':' && i + 2 < chunk.size() && chunk[i + 1] == '/' && chunk[i + 2] == '/') scheme = true;
  }
  const bool www = chunk.size() > 4 && chunk[0] == 'w' && chunk[1] == 'w' && chunk[2] == 'w' && chunk[3] == '.';
  const bool rooted = chunk.size() > 1 && (chunk[0] == '/' || (chunk[0] == '~' && chunk[1] == '/'));
  return scheme || www || at_sign || rooted || dot_after_slash || slashes >= 3;
}

// Of equal counts the last, so that Latin is the weakest: "x" with a Korean particle is Korean.
Script majority(const Counts& counts) {
  const auto last_most = std::max_element(counts.rbegin(), counts.rend());
  return static_cast<Script>(counts.rend() - last_most - 1);
}

std::int64_t total(const Counts& counts) {
  std::int64_t sum = 0;
  for (const std::int64_t count : counts) sum += count;
  return sum;
}

// Counts the words of a text, sentence by sentence: kanji count as kana where the sentence has kana, or where all
// neighbouring sentences in Han or kana do.
class WordCounter {
 public:
  Counts count(std::string_view text) {
    const std::string prose = prose_of(text);
    for (std::size_t i = 0; i < prose.size();) {
      const CodePoint point = code_point_at(prose, i);
      if (is_white_space(point.value) || is_cjk(point.value)) {
        end_chunk();
        take_cjk(point.value);
      } else {
        chunk_.push_back(point.value);
      }
      i += point.length;
    }
    end_chunk();
    end_sentence();
    settle_han();
    return counts_;
  }

 private:
  struct Sentence {
    std::int64_t han = 0, kana = 0;
  };

  void take_cjk(std::int32_t code) {
    const Script script = script_of(code);
    if (script == Script::Han) ++sentence_.han;
    if (script == Script::Kana && is_letter(code)) ++sentence_.kana;
    if (code == '\n' || code == 0x3002 || code == 0xFF01 || code == 0xFF1F) end_sentence();
  }

  void end_chunk() {
    if (!chunk_.empty() && !is_reference(chunk_)) {
      for (std::size_t begin = 0; begin < chunk_.size();) begin = take_run(begin);
    }
    const bool ends = !chunk_.empty() && (chunk_.back() == '.' || chunk_.back() == '!' || chunk_.back() == '?');
    chunk_.clear();
    if (ends) end_sentence();
  }

  // One run of letters, digits and '_' from `begin`; returns its end. Apostrophes join ("don't").
  std::size_t take_run(std::size_t begin) {
    std::size_t end = begin, letters = 0;
    bool is_identifier = false;
    Counts scripts{};
    for (; end < chunk_.size(); ++end) {
      const std::int32_t code = chunk_[end];
      const bool joins = (code == '\'' || code == 0x2019) && letters > 0;
      if (is_ascii_digit(code) || code == '_') {
        is_identifier = true;
      } else if (is_letter(code)) {
        if (end > begin && is_upper(code) && is_lower(chunk_[end - 1])) is_identifier = true;  // camelCase
        ++letters;
        ++at(scripts, script_of(code));
      } else if (!joins && !is_mark(code) && !is_format_control(code)) {
        break;
      }
    }
    const Script most = majority(scripts);
    const bool is_symbol = letters == 1 && (most == Script::Latin || most == Script::Greek);  // x, π
    if (letters > 0 && !is_identifier && !is_symbol) ++at(counts_, most);
    return std::max(end, begin + 1);
  }

  void end_sentence() {
    if (sentence_.han + sentence_.kana > 0) sentences_.push_back(sentence_);
    sentence_ = {};
  }

  void settle_han() {
    for (std::size_t i = 0; i < sentences_.size(); ++i) {
      const bool has_before = i > 0, has_after = i + 1 < sentences_.size();
      const bool neighbours = (has_before || has_after) && (!has_before || sentences_[i - 1].kana > 0) &&
                              (!has_after || sentences_[i + 1].kana > 0);
      at(counts_, sentences_[i].kana > 0 || neighbours ? Script::Kana : Script::Han) += sentences_[i].han;
      at(counts_, Script::Kana) += sentences_[i].kana;
    }
  }

  std::vector<std::int32_t> chunk_;  // characters since the last space or CJK character
  Sentence sentence_;
  std::vector<Sentence> sentences_;
  Counts counts_{};
};

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
    Counts counts = WordCounter().count(thinking(input));
    const std::int64_t words = total(counts), wanted = at(counts, target);
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
    const Counts counts = WordCounter().count(question(input));
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
