#include <grpo/json.h>

#include <charconv>
#include <unordered_map>

#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// One pass over the text. Columns count bytes from 1.
class Parser {
 public:
  Parser(std::string_view text, const JsonParseOptions& options)
      : options_(options), cursor_(text.data()), end_(text.data() + text.size()), line_(options.first_line) {
    if (!options.source.empty()) file_ = std::make_shared<const std::string>(options.source);
    if (text.substr(0, 3) == "\xEF\xBB\xBF") cursor_ += 3;  // a byte order mark, which RFC 8259 lets a reader skip
    line_start_ = cursor_;
  }

  Json document() {
    skip_space();
    Json value = parse_value(0);
    skip_space();
    if (cursor_ != end_) fail("expected the end of the text, got " + next_shown());
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    const std::string column = std::to_string(cursor_ - line_start_ + 1);
    const std::string line = std::to_string(line_);
    const std::string where = file_ ? *file_ + ":" + line + ":" + column : "JSON line " + line + ", column " + column;
    throw Error(where + ": " + message);
  }

  std::string next_shown() const {
    if (cursor_ == end_) return "the end of the text";
    const auto byte = static_cast<unsigned char>(*cursor_);
    if (byte >= 0x20 && byte < 0x7F) return std::string("'") + *cursor_ + "'";
    static constexpr char kHex[] = "0123456789abcdef";
    return std::string("byte 0x") + kHex[byte >> 4] + kHex[byte & 15];
  }

  void skip_space() {
    for (; cursor_ != end_; ++cursor_) {
      if (*cursor_ == '\n') {
        ++line_;
        line_start_ = cursor_ + 1;
      } else if (*cursor_ == '/' && options_.allow_comments) {
        skip_comment();
        if (cursor_ == end_) return;
        --cursor_;
      } else if (*cursor_ != ' ' && *cursor_ != '\t' && *cursor_ != '\r') {
        return;
      }
    }
  }

  // Leaves the cursor behind the comment (before the newline of a // comment).
  void skip_comment() {
    const char kind = end_ - cursor_ > 1 ? cursor_[1] : '\0';
    if (kind == '/') {
      while (cursor_ != end_ && *cursor_ != '\n') ++cursor_;
      return;
    }
    if (kind != '*') fail("expected a value or a comment, got '/'");
    for (const char* p = cursor_ + 2; end_ - p >= 2; ++p) {
      if (p[0] == '*' && p[1] == '/') {
        for (; cursor_ != p + 2; ++cursor_) {
          if (*cursor_ != '\n') continue;
          ++line_;
          line_start_ = cursor_ + 1;
        }
        return;
      }
    }
    fail("comment without an end");
  }

  Json parse_value(int depth) {
    if (cursor_ == end_) fail("expected a value, got the end of the text");
    if (depth > options_.max_depth) fail("nested more than " + std::to_string(options_.max_depth) + " levels deep");
    const int line = line_;
    const int column = static_cast<int>(cursor_ - line_start_) + 1;
    Json value;
    switch (*cursor_) {
      case '{':
        value = parse_object(depth);
        break;
      case '[':
        value = parse_list(depth);
        break;
      case '"':
        value = parse_string();
        break;
      case 't':
        expect_word("true"), value = true;
        break;
      case 'f':
        expect_word("false"), value = false;
        break;
      case 'n':
        expect_word("null");
        break;
      default:
        value = parse_number();
    }
    value.set_location(file_, line, column);
    return value;
  }

  void expect_word(std::string_view word) {
    if (std::string_view(cursor_, static_cast<std::size_t>(end_ - cursor_)).substr(0, word.size()) != word) {
      fail("expected a value, got " + next_shown());
    }
    cursor_ += word.size();
  }

  Json parse_object(int depth) {
    Json::Object object;
    ++cursor_;
    skip_space();
    if (cursor_ != end_ && *cursor_ == '}') return ++cursor_, Json(std::move(object));
    while (true) {
      if (cursor_ == end_ || *cursor_ != '"') fail("expected a key in quotes, got " + next_shown());
      std::string key = parse_string();
      skip_space();
      if (cursor_ == end_ || *cursor_ != ':') fail("expected ':' after a key, got " + next_shown());
      ++cursor_;
      skip_space();
      object.emplace_back(std::move(key), parse_value(depth + 1));
      skip_space();
      if (cursor_ != end_ && *cursor_ == '}') break;
      if (cursor_ == end_ || *cursor_ != ',') fail("expected ',' or '}' in an object, got " + next_shown());
      ++cursor_;
      skip_space();
    }
    ++cursor_;
    check_keys(object);
    return object;
  }

  static void check_keys(const Json::Object& object) {
    auto repeated = [](const std::string& key, const Json& first, const Json& second) {
      throw Error(second.where() + ": key \"" + key + "\" occurs twice, first in line " + std::to_string(first.line()));
    };
    if (object.size() <= 12) {  // where comparing all is cheaper than a table
      for (std::size_t i = 1; i < object.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
          if (object[i].first == object[j].first) repeated(object[i].first, object[j].second, object[i].second);
        }
      }
      return;
    }
    std::unordered_map<std::string_view, const Json*> seen(object.size());
    for (const auto& [key, value] : object) {
      const auto [entry, fresh] = seen.emplace(key, &value);
      if (!fresh) repeated(key, *entry->second, value);
    }
  }

  Json parse_list(int depth) {
    Json::List list;
    ++cursor_;
    skip_space();
    if (cursor_ != end_ && *cursor_ == ']') return ++cursor_, Json(std::move(list));
    while (true) {
      list.push_back(parse_value(depth + 1));
      skip_space();
      if (cursor_ != end_ && *cursor_ == ']') break;
      if (cursor_ == end_ || *cursor_ != ',') fail("expected ',' or ']' in a list, got " + next_shown());
      ++cursor_;
      skip_space();
    }
    ++cursor_;
    return list;
  }

  std::string parse_string() {
    std::string out;
    ++cursor_;
    while (true) {
      const char* run = cursor_;
      while (cursor_ != end_ && is_plain(*cursor_)) ++cursor_;
      out.append(run, cursor_);
      if (cursor_ == end_) fail("text without a closing quote");
      const auto byte = static_cast<unsigned char>(*cursor_);
      if (byte == '"') return ++cursor_, out;
      if (byte == '\\') {
        parse_escape(out);
      } else if (byte < 0x20) {
        fail("control character in text (write it as an escape), got " + next_shown());
      } else {
        const std::size_t length = utf8_length({cursor_, static_cast<std::size_t>(end_ - cursor_)});
        if (length == 0) fail("invalid UTF-8, got " + next_shown());
        out.append(cursor_, length);
        cursor_ += length;
      }
    }
  }

  static bool is_plain(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
  }

  void parse_escape(std::string& out) {
    ++cursor_;
    if (cursor_ == end_) fail("text without a closing quote");
    switch (*cursor_) {
      case '"':
        out += '"';
        break;
      case '\\':
        out += '\\';
        break;
      case '/':
        out += '/';
        break;
      case 'b':
        out += '\b';
        break;
      case 'f':
        out += '\f';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 't':
        out += '\t';
        break;
      case 'u':
        parse_code_point(out);
        return;
      default:
        fail("unknown escape, got " + next_shown());
    }
    ++cursor_;
  }

  void parse_code_point(std::string& out) {
    std::uint32_t code = parse_hex();
    if (code >= 0xD800 && code < 0xDC00) {
      if (end_ - cursor_ < 2 || cursor_[0] != '\\' || cursor_[1] != 'u') fail("half of a surrogate pair");
      ++cursor_;
      const std::uint32_t low = parse_hex();
      if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      fail("half of a surrogate pair");
    }
    append_utf8(out, code);
  }

  // The cursor is at the `u` of \uXXXX; leaves it behind the last digit.
  std::uint32_t parse_hex() {
    ++cursor_;
    std::uint32_t code = 0;
    const auto result = std::from_chars(cursor_, end_ - cursor_ < 4 ? end_ : cursor_ + 4, code, 16);
    if (result.ptr != cursor_ + 4) fail("expected four hexadecimal digits after \\u");
    cursor_ += 4;
    return code;
  }

  Json parse_number() {
    const char* p = cursor_;
    auto digits = [&] {
      const char* first = p;
      while (p != end_ && is_digit(*p)) ++p;
      return p != first;
    };
    if (p != end_ && *p == '-') ++p;
    if (p == end_ || !is_digit(*p)) fail("expected a value, got " + next_shown());
    bool integer = true;
    if (*p == '0') {
      ++p;
      if (p != end_ && is_digit(*p)) fail("a number with a leading zero");
    } else {
      digits();
    }
    if (p != end_ && *p == '.') {
      ++p, integer = false;
      if (!digits()) fail("a number without digits after the point");
    }
    if (p != end_ && (*p == 'e' || *p == 'E')) {
      ++p, integer = false;
      if (p != end_ && (*p == '+' || *p == '-')) ++p;
      if (!digits()) fail("a number without digits in its exponent");
    }
    if (std::int64_t value = 0; integer && std::from_chars(cursor_, p, value).ec == std::errc()) {
      cursor_ = p;
      return value;
    }
    double value = 0;  // also integers beyond 64 bits
    if (std::from_chars(cursor_, p, value).ec != std::errc()) fail("a number outside the range of a double");
    cursor_ = p;
    return value;
  }

  const JsonParseOptions& options_;
  const char* cursor_;
  const char* end_;
  const char* line_start_ = nullptr;
  int line_;
  std::shared_ptr<const std::string> file_;
};

}  // namespace

Json parse_json(std::string_view text, const JsonParseOptions& options) { return Parser(text, options).document(); }

}  // namespace grpo::inline GRPO_ABI
