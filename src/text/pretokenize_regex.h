// The regular expressions of tokenizer.json, which are written for Oniguruma (Ruby syntax), run on PCRE2.
//
// The pattern is translated; what could mean something else in PCRE2 is refused by name. Matching is bounded, so a
// hostile pattern gives an Error, not a hang. const and shareable between threads; a Scratch belongs to one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Regex {
 public:
  // `where` starts every message: file and field.
  Regex(std::string_view pattern, std::string where);

  // Working memory of matches, for any Regex.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  // All matches from left to right, without overlap, as offsets in `text` (well-formed UTF-8). An empty match right
  // behind another match does not count.
  void find_all(std::string_view text, Scratch& scratch, std::vector<Span>& matches) const;

 private:
  struct Code;
  bool search(std::string_view text, std::size_t from, Scratch& scratch, Span& match) const;

  std::string where_;
  std::shared_ptr<const Code> code_;
};

// The pattern in PCRE2's syntax (for UTF, UCP and newline = LF). Throws Error naming what is not supported.
std::string translate_pattern(std::string_view pattern, const std::string& where);

}  // namespace grpo::inline GRPO_ABI
