#include "reward/word_scripts.h"

#include <algorithm>
#include <string>
#include <vector>

#include "reward/prose.h"
#include "reward/unicode.h"

namespace grpo::inline GRPO_ABI {
namespace {

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

// Counts the words of a text, sentence by sentence: kanji count as kana where the sentence has kana, or where all
// neighbouring sentences in Han or kana do.
class WordCounter {
 public:
  ScriptCounts count(std::string_view text) {
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
    ScriptCounts scripts{};
    for (; end < chunk_.size(); ++end) {
      const std::int32_t code = chunk_[end];
      const bool joins = (code == '\'' || code == 0x2019) && letters > 0;
      if (is_ascii_digit(code) || code == '_') {
        is_identifier = true;
      } else if (is_letter(code)) {
        if (end > begin && is_upper(code) && is_lower(chunk_[end - 1])) is_identifier = true;  // camelCase
        ++letters;
        ++of_script(scripts, script_of(code));
      } else if (!joins && !is_mark(code) && !is_format_control(code)) {
        break;
      }
    }
    const Script most = majority(scripts);
    const bool is_symbol = letters == 1 && (most == Script::Latin || most == Script::Greek);  // x, π
    if (letters > 0 && !is_identifier && !is_symbol) ++of_script(counts_, most);
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
      of_script(counts_, sentences_[i].kana > 0 || neighbours ? Script::Kana : Script::Han) += sentences_[i].han;
      of_script(counts_, Script::Kana) += sentences_[i].kana;
    }
  }

  std::vector<std::int32_t> chunk_;  // characters since the last space or CJK character
  Sentence sentence_;
  std::vector<Sentence> sentences_;
  ScriptCounts counts_{};
};

}  // namespace

ScriptCounts count_words(std::string_view text) { return WordCounter().count(text); }

Script majority(const ScriptCounts& counts) {
  const auto last_most = std::max_element(counts.rbegin(), counts.rend());
  return static_cast<Script>(counts.rend() - last_most - 1);
}

std::int64_t total(const ScriptCounts& counts) {
  std::int64_t sum = 0;
  for (const std::int64_t count : counts) sum += count;
  return sum;
}

}  // namespace grpo::inline GRPO_ABI
