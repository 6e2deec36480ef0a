#include "text/jinja_lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <grpo/error.h>

#include "base/utf8.h"
#include "text/jinja_text.h"

namespace grpo::jinja {

namespace {

// One kind of line end, and no line end after the last line.
std::string normalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_decimal(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  Lexer(std::string_view text, const std::string& source) : source_(source), text_(normalized(text)) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) scan_text();
    Token end;
    end.line = line_;
    tokens_.push_back(end);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what, int line) const {
    throw Error(source_ + ":" + std::to_string(line) + ": " + what);
  }

  void advance(std::size_t end) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    at_ = end;
  }

  Token& add(TokenKind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  bool starts(std::size_t at, std::string_view what) const {
    return std::string_view(text_).substr(at, what.size()) == what;
  }

  std::size_t skip_space(std::size_t at) const {
    while (at < text_.size() && is_space(character_at(text_, at))) at = next_character(text_, at);
    return at;
  }

  std::size_t next_tag(std::size_t from) const {
    for (std::size_t at = text_.find('{', from); at != std::string::npos; at = text_.find('{', at + 1)) {
      if (at + 1 < text_.size() && (text_[at + 1] == '{' || text_[at + 1] == '%' || text_[at + 1] == '#')) return at;
    }
    return std::string::npos;
  }

  // The text before a tag at `end`, shortened as the tag's sign and lstrip_blocks ask.
  std::string_view before_tag(std::size_t begin, std::size_t end, char sign, bool is_print) const {
    std::string_view text = std::string_view(text_).substr(begin, end - begin);
    if (sign == '-') return strip(text, Side::Right);
    if (sign == '+' || is_print) return text;
    const std::size_t newline = text.rfind('\n');
    const std::size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return text;
    return strip(text.substr(line_begin), Side::Both).empty() ? text.substr(0, line_begin) : text;
  }

  void scan_text() {
    const std::size_t tag = next_tag(at_);
    if (tag == std::string::npos) {
      add(TokenKind::Text, text_.substr(at_));
      return advance(text_.size());
    }
    const char type = text_[tag + 1];
    const char sign = tag + 2 < text_.size() && (text_[tag + 2] == '-' || text_[tag + 2] == '+') ? text_[tag + 2] : ' ';
    const std::string_view text = before_tag(at_, tag, sign, type == '{');
    if (!text.empty()) add(TokenKind::Text, std::string(text));
    advance(tag);
    const std::size_t inside = tag + (sign == ' ' ? 2 : 3);
    if (type == '#') return scan_comment(inside);
    if (type == '%' && scan_raw(inside)) return;
    const bool is_print = type == '{';
    add(is_print ? TokenKind::PrintBegin : TokenKind::BlockBegin, "");
    advance(inside);
    scan_tag(is_print);
  }

  void close(std::size_t end) {
    line_starting_ = text_[end - 1] == '\n';
    advance(end);
  }

  // Offset after an end tag at `at` with its sign and the white space that it takes along; 0 when there is none.
  std::size_t end_of(std::size_t at, std::string_view tag, bool is_print) const {
    if (starts(at, "-") && starts(at + 1, tag)) return skip_space(at + 1 + tag.size());
    if (!is_print && starts(at, "+") && starts(at + 1, tag)) return at + 1 + tag.size();
    if (!starts(at, tag)) return 0;
    const std::size_t end = at + tag.size();
    return !is_print && end < text_.size() && text_[end] == '\n' ? end + 1 : end;
  }

  void scan_comment(std::size_t inside) {
    const std::size_t close_at = text_.find("#}", inside);
    if (close_at == std::string::npos) fail("the comment has no end ('#}')", line_);
    const bool has_sign = close_at > inside && (text_[close_at - 1] == '-' || text_[close_at - 1] == '+');
    close(end_of(close_at - (has_sign ? 1 : 0), "#}", false));
  }

  bool scan_raw(std::size_t inside) {
    std::size_t at = skip_space(inside);
    if (!starts(at, "raw")) return false;
    at = skip_space(at + 3);
    if (starts(at, "-%}")) {
      at = skip_space(at + 3);
    } else if (starts(at, "%}")) {
      at += 2;
    } else {
      return false;
    }
    const int begin_line = line_;
    close(at);
    for (std::size_t tag = text_.find("{%", at); tag != std::string::npos; tag = text_.find("{%", tag + 1)) {
      const char sign =
          tag + 2 < text_.size() && (text_[tag + 2] == '-' || text_[tag + 2] == '+') ? text_[tag + 2] : ' ';
      std::size_t word = skip_space(tag + (sign == ' ' ? 2 : 3));
      if (!starts(word, "endraw")) continue;
      word = skip_space(word + 6);
      const std::size_t end = end_of(word, "%}", false);
      if (end == 0) continue;
      const std::string_view text = before_tag(at, tag, sign, false);
      if (!text.empty()) add(TokenKind::Text, std::string(text));
      close(end);
      return true;
    }
    fail("the raw block has no end ('{% endraw %}')", begin_line);
  }

  // Tokens up to the end tag; inside brackets an end tag is read as operators.
  void scan_tag(bool is_print) {
    const std::string_view end_tag = is_print ? "}}" : "%}";
    const int begin_line = line_;
    std::string open;
    while (true) {
      advance(skip_space(at_));
      if (at_ >= text_.size()) fail(std::string("the tag has no end ('") + std::string(end_tag) + "')", begin_line);
      if (const std::size_t end = open.empty() ? end_of(at_, end_tag, is_print) : 0) {
        add(is_print ? TokenKind::PrintEnd : TokenKind::BlockEnd, "");
        return close(end);
      }
      const char c = text_[at_];
      if (is_decimal(c)) {
        scan_number();
      } else if (is_name_start(c)) {
        scan_name();
      } else if (c == '"' || c == '\'') {
        scan_string(c);
      } else {
        scan_operator(open);
      }
    }
  }

  void scan_name() {
    std::size_t end = at_;
    while (end < text_.size() && (is_name_start(text_[end]) || is_decimal(text_[end]))) ++end;
    add(TokenKind::Name, text_.substr(at_, end - at_));
    advance(end);
  }

  std::string digits(std::size_t& at, bool (*accepts)(char)) const {
    std::string out;
    while (at < text_.size()) {
      if (text_[at] == '_' && at + 1 < text_.size() && accepts(text_[at + 1]) && !out.empty()) ++at;
      if (!accepts(text_[at])) break;
      out += text_[at++];
    }
    return out;
  }

  void scan_number() {
    std::size_t at = at_;
    std::string number;
    int base = 10;
    const auto is_hex = [](char c) { return std::string_view("0123456789abcdefABCDEF").find(c) != std::string::npos; };
    if (starts(at, "0x") || starts(at, "0X")) {
      base = 16, at += 2, number = digits(at, is_hex);
    } else {
      number = digits(at, is_decimal);
      if (scan_float(at, number)) return;
    }
    Token& token = add(TokenKind::Integer, number);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), token.integer, base);
    if (error != std::errc() || end != number.data() + number.size()) fail("the number is out of range", line_);
    advance(at);
  }

  // A fraction or an exponent after the whole digits that end at `at`.
  bool scan_float(std::size_t at, std::string number) {
    const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
    const std::size_t begin = at;
    const auto is_digit_at = [&](std::size_t i) { return i < text_.size() && is_decimal(text_[i]); };
    if (starts(at, ".") && is_digit_at(at + 1)) {
      ++at;
      number += '.' + digits(at, is_decimal);
    }
    if (at < text_.size() && (text_[at] == 'e' || text_[at] == 'E')) {
      const std::size_t sign = at + 1 < text_.size() && (text_[at + 1] == '+' || text_[at + 1] == '-') ? 1 : 0;
      if (is_digit_at(at + 1 + sign)) {
        number += text_.substr(at, 1 + sign);
        at += 1 + sign;
        number += digits(at, is_decimal);
      }
    }
    if (at == begin || after_dot) return false;
    double value = 0;
    std::from_chars(number.data(), number.data() + number.size(), value);
    add(TokenKind::Float, number).real = value;
    advance(at);
    return true;
  }

  void scan_string(char quote) {
    const int begin_line = line_;
    std::string value;
    std::size_t at = at_ + 1;
    while (at < text_.size() && text_[at] != quote) {
      if (text_[at] != '\\') {
        value += text_[at++];
      } else {
        at = scan_escape(at + 1, value);
      }
    }
    if (at >= text_.size()) fail("the string has no end", begin_line);
    add(TokenKind::String, std::move(value));
    advance(at + 1);
  }

  // Python's escapes; an unknown one keeps its backslash. `at` is after the backslash.
  std::size_t scan_escape(std::size_t at, std::string& value) const {
    if (at >= text_.size()) return at;
    static constexpr std::string_view kNames = "abfnrtv\\'\"";
    static constexpr std::string_view kBytes = "\a\b\f\n\r\t\v\\'\"";
    const char c = text_[at];
    if (const std::size_t known = kNames.find(c); known != std::string_view::npos) {
      value += kBytes[known];
      return at + 1;
    }
    if (c == '\n') return at + 1;
    if (c == 'x') return scan_code(at + 1, 2, 16, value);
    if (c == 'u') return scan_code(at + 1, 4, 16, value);
    if (c == 'U') return scan_code(at + 1, 8, 16, value);
    if (c >= '0' && c <= '7') {
      std::size_t count = 1;
      while (count < 3 && at + count < text_.size() && text_[at + count] >= '0' && text_[at + count] <= '7') ++count;
      return scan_code(at, count, 8, value);
    }
    value += '\\';
    return at;
  }

  std::size_t scan_code(std::size_t at, std::size_t count, int base, std::string& value) const {
    std::uint32_t code = 0;
    const char* begin = text_.data() + at;
    const char* end = text_.data() + std::min(at + count, text_.size());
    const auto result = std::from_chars(begin, end, code, base);
    if (result.ptr != begin + count) fail("a broken escape in a string", line_);
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("a string's escape names no character", line_);
    append_utf8(value, code);
    return at + count;
  }

  void scan_operator(std::string& open) {
    static constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", ">=", "<="};
    std::string symbol;
    for (const std::string_view candidate : kDouble) {
      if (starts(at_, candidate)) symbol = candidate;
    }
    const char c = text_[at_];
    if (symbol.empty()) {
      if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
        fail("unexpected '" + text_.substr(at_, next_character(text_, at_) - at_) + "'", line_);
      }
      symbol = c;
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(std::string("unexpected '") + c + "'", line_);
      open.pop_back();
    }
    add(TokenKind::Operator, symbol);
    advance(at_ + symbol.size());
  }

  const std::string& source_;
  const std::string text_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text, const std::string& source) { return Lexer(text, source).run(); }

}  // namespace grpo::jinja
