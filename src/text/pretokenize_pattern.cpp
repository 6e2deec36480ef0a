// Oniguruma's syntax to PCRE2's: a subset in which both mean the same.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <iterator>

#include "base/utf8.h"
#include "text/pretokenize_regex.h"

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxPatternBytes = 1 << 16;

// Oniguruma's \s; PCRE2's has U+180E too.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

// Properties that both engines know, and that with_older_characters() keeps.
constexpr std::string_view kCategories[] = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co", "Any"};
constexpr std::string_view kScripts[] = {"Han", "Hiragana", "Katakana"};
// From 10.40 on PCRE2 takes a bare script name for script extensions, which Oniguruma does not know.
constexpr bool kScriptsNeedPrefix = PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40;

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter_or_digit(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string translate() {
    while (!done()) {
      const char c = peek();
      if (c == '\\') {
        escape();
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '*' || c == '+' || c == '?') {
        quantifier();
      } else if (c == '{') {
        interval();
      } else if (c == '^' || c == '$') {
        // Ruby's are line anchors.
        out_ += c == '^' ? "(?m:^)" : "(?m:$)";
        ++at_;
      } else {
        out_ += take();
      }
    }
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= pattern_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  char take() { return pattern_[at_++]; }
  bool at(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }

  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(where_ + ": regular expression: " + std::string(what) + " is not supported, at byte " +
                std::to_string(at_) + " of " + std::string(pattern_.substr(0, 200)));
  }

  // Everything after a backslash that means a single character, in both contexts; false when it is none of that.
  bool character_escape() {
    const char c = peek(1);
    switch (c) {
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        out_ += '\\';
        out_ += c;
        at_ += 2;
        return true;
      case 'v':
        out_ += R"(\x0b)";
        at_ += 2;
        return true;
      case 'x':
      case 'u':
        code_escape(c);
        return true;
      default:
        if (c == '\0' || is_letter_or_digit(c) || static_cast<unsigned char>(c) >= 0x80) return false;
        out_ += '\\';
        out_ += c;
        at_ += 2;
        return true;
    }
  }

  // \xHH, \x{H...} and \uHHHH.
  void code_escape(char kind) {
    std::size_t begin = at_ + 2;
    std::size_t end = begin;
    if (kind == 'x' && peek(2) == '{') {
      ++begin;
      end = pattern_.find('}', begin);
      if (end == std::string_view::npos) refuse("\\x{ without }");
    } else {
      const std::size_t most = kind == 'x' ? 2 : 4;
      while (end < pattern_.size() && end - begin < most && is_hex(pattern_[end])) ++end;
      if (end - begin != most) refuse("an escape without its hexadecimal digits");
    }
    const std::string_view digits = pattern_.substr(begin, end - begin);
    if (digits.empty() || digits.size() > 6 || !std::all_of(digits.begin(), digits.end(), is_hex)) {
      refuse("\\x{...} with other than 1 to 6 hexadecimal digits");
    }
    out_ += "\\x{" + std::string(digits) + "}";
    at_ = kind == 'x' && peek(2) == '{' ? end + 1 : end;
  }

  void property() {
    const char negation = take_property_letter();
    const std::size_t end = pattern_.find('}', at_);
    if (peek() != '{' || end == std::string_view::npos) refuse("a property without {}");
    std::string_view name = pattern_.substr(at_ + 1, end - at_ - 1);
    const bool inverted = !name.empty() && name[0] == '^';
    if (inverted) name.remove_prefix(1);
    const auto is_one_of = [&](const auto& names) {
      return std::find(std::begin(names), std::end(names), name) != std::end(names);
    };
    const bool is_script = is_one_of(kScripts);
    if (!is_script && !is_one_of(kCategories)) refuse("property \"" + std::string(name.substr(0, 40)) + "\"");
    out_ += (negation == 'P') != inverted ? "\\P{" : "\\p{";
    out_ += is_script && kScriptsNeedPrefix ? "sc:" : "";
    out_ += std::string(name) + "}";
    at_ = end + 1;
  }
  char take_property_letter() {
    const char letter = peek(1);
    at_ += 2;
    return letter;
  }

  void escape() {
    const char c = peek(1);
    if (c == 'p' || c == 'P') return property();
    if (c == 's' || c == 'S') {
      out_ += "[";
      out_ += c == 's' ? "" : "^";
      out_ += std::string(kSpace) + "]";
      at_ += 2;
    } else if (c == 'd' || c == 'D') {
      out_ += c == 'd' ? R"(\p{Nd})" : R"(\P{Nd})";
      at_ += 2;
    } else if (c == 'A' || c == 'z') {
      out_ += '\\';
      out_ += c;
      at_ += 2;
    } else if (!character_escape()) {
      refuse("escape \\" + std::string(1, c == '\0' ? ' ' : c));
    }
  }

  void character_class() {
    out_ += take();
    if (peek() == '^') out_ += take();
    if (peek() == ']') refuse("] as the first character of a class");
    bool first = true;
    bool in_range = false;  // behind a hyphen that could span a range
    while (peek() != ']') {
      if (done()) refuse("a class without ]");
      if (peek() == '[') refuse("[ inside a class (write \\[)");
      if (at("&&")) refuse("&& inside a class");
      if (peek() == '\\') {
        class_escape(in_range);
        in_range = false;
      } else {
        in_range = peek() == '-' && !first;
        out_ += take();
      }
      first = false;
    }
    out_ += take();
  }

  void class_escape(bool in_range) {
    const char c = peek(1);
    const bool is_set = c == 'p' || c == 'P' || c == 's' || c == 'S' || c == 'd' || c == 'D';
    if (!is_set) {
      if (!character_escape()) refuse("escape \\" + std::string(1, c == '\0' ? ' ' : c) + " inside a class");
      return;
    }
    if (in_range) refuse("- in front of a set inside a class");  // the engines differ
    if (c == 'p' || c == 'P') {
      property();
    } else {
      out_ += c == 's' ? kSpace : c == 'S' ? kNotSpace : c == 'd' ? R"(\p{Nd})" : R"(\P{Nd})";
      at_ += 2;
    }
    if (peek() == '-' && peek(1) != ']') refuse("- behind a set inside a class");
  }

  void group() {
    if (peek(1) != '?') {  // nothing refers to captures
      out_ += "(?:";
      ++at_;
      return;
    }
    if (at("(?i)")) {  // in Ruby it reaches over the alternatives that follow
      if (at_ != 0) refuse("(?i) other than at the start");
      out_ += "(?i)";
      at_ += 4;
      return;
    }
    for (const std::string_view opening : {"(?:", "(?i:", "(?-i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (!at(opening)) continue;
      out_ += opening;
      at_ += opening.size();
      return;
    }
    refuse("group " + std::string(pattern_.substr(at_, 4)));
  }

  void quantifier() {
    out_ += take();
    if (peek() == '?' || peek() == '+') out_ += take();  // lazy, possessive
  }

  // {n}, {n,}, {n,m}, {,m}; any other brace is a literal.
  void interval() {
    std::size_t end = at_ + 1;
    while (end < pattern_.size() && (is_digit(pattern_[end]) || pattern_[end] == ',')) ++end;
    const std::string body(pattern_.substr(at_ + 1, end - at_ - 1));
    const bool whole = end < pattern_.size() && pattern_[end] == '}' && body.size() > (body[0] == ',' ? 1u : 0u) &&
                       std::count(body.begin(), body.end(), ',') <= 1;
    if (!whole) {
      out_ += "\\{";
      ++at_;
      return;
    }
    out_ += "{" + (body[0] == ',' ? "0" + body : body) + "}";
    at_ = end + 1;
    if (peek() == '?' || peek() == '+' || peek() == '*' || peek() == '{') refuse("a quantifier behind {n,m}");
  }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, const std::string& where) {
  GRPO_CHECK(pattern.size() <= kMaxPatternBytes, where + ": regular expression: expected at most " +
                                                     std::to_string(kMaxPatternBytes) + " bytes, got " +
                                                     std::to_string(pattern.size()));
  GRPO_CHECK(find_invalid_utf8(pattern) == pattern.size(), where + ": regular expression: invalid UTF-8");
  return Translator(pattern, where).translate();
}

}  // namespace grpo::inline GRPO_ABI
