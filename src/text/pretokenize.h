// How a text is cut into words before BPE: the pre_tokenizer of a tokenizer.json.
//
// Steps run in the order in which they were added, each on the pieces of the one before; the byte level comes last.
// const and shareable between threads once built.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/pretokenize_regex.h"

namespace grpo::inline GRPO_ABI {

// What becomes of the matches of a Split.
enum class SplitBehavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

class Pretokenizer {
 public:
  struct Split {
    std::variant<Regex, std::string> pattern;  // an expression, or a text as it is
    SplitBehavior behavior = SplitBehavior::Isolated;
    bool invert = false;
  };
  struct Digits {
    bool individual = false;
  };
  struct ByteLevel {
    bool add_prefix_space = false;  // to each piece that does not start with a space
    bool use_regex = true;          // GPT-2's words
  };

  void add(Split step) { steps_.emplace_back(std::move(step)); }
  void add(Digits step) { steps_.emplace_back(step); }
  void set(const ByteLevel& last);

  struct Word {
    std::string_view bytes;  // lives for one call
    std::size_t begin = 0;   // where it stands in the text
    std::size_t prefix = 0;  // bytes at its front that are not in the text: the prefix space
  };
  // Calls `word` for each word of `text` (well-formed UTF-8), in order.
  void words(std::string_view text, const std::function<void(const Word&)>& word) const;

 private:
  std::vector<std::variant<Split, Digits>> steps_;
  bool add_prefix_space_ = false;
  std::optional<Regex> gpt2_;
};

}  // namespace grpo::inline GRPO_ABI
