// Methods of text, as Python's str has them.
#include <algorithm>
#include <array>
#include <map>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace grpo::jinja {

const std::string& expect_text(std::string_view function, const Value& value) {
  if (value.is_undefined()) throw Failure(value.undefined_reason());
  if (!value.as_text()) throw Failure(std::string(function) + " expects text, got " + std::string(type_name(value)));
  return *value.as_text();
}

std::int64_t expect_integer(std::string_view function, const Value* value, std::int64_t fallback) {
  if (!value) return fallback;
  if (value->is_undefined()) throw Failure(value->undefined_reason());
  const auto whole = value->integer();
  if (!whole) throw Failure(std::string(function) + " expects an integer, got " + std::string(type_name(*value)));
  return *whole;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                    Budget& budget) {
  std::string out;
  std::int64_t done = 0;
  std::size_t at = 0;
  const auto put = [&](std::string_view piece) {
    budget.grow(out.size(), piece.size());
    out += piece;
  };
  budget.search(text.size(), from.size());
  while (most < 0 || done < most) {
    // An empty `from` stands between all characters.
    const std::size_t found = from.empty() ? at : text.find(from, at);
    if (found == std::string_view::npos) break;
    budget.work();
    put(text.substr(at, found - at)), put(to);
    at = found + from.size();
    ++done;
    if (!from.empty()) continue;
    if (at >= text.size()) return out;
    const std::size_t next = next_character(text, at);
    put(text.substr(at, next - at));
    at = next;
  }
  put(text.substr(at));
  return out;
}

namespace {

using TextMethod = Value (*)(const std::string& self, const Arguments& arguments, Budget& budget);

template <Side side>
Value strip_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const auto given = bind("strip", arguments, {"chars"}, 0);
  if (!given[0] || given[0]->is_none()) return Value(strip(self, side));
  const std::string& characters = expect_text("strip", *given[0]);
  budget.search(self.size(), characters.size());
  return Value(strip(self, side, &characters));
}

template <bool at_start>
Value affix_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const char* name = at_start ? "startswith" : "endswith";
  const auto given = bind(name, arguments, {"affix"}, 1);
  const auto matches = [&](const Value& affix) {
    const std::string& text = expect_text(name, affix);
    budget.read(text.size());
    return text.size() <= self.size() && self.compare(at_start ? 0 : self.size() - text.size(), text.size(), text) == 0;
  };
  const Sequence* several = given[0]->as_sequence();
  if (!several || several->kind != SequenceKind::Tuple) return Value(matches(*given[0]));
  budget.work(several->items.size());
  return Value(std::any_of(several->items.begin(), several->items.end(), matches));
}

template <bool at_start>
Value remove_affix(const std::string& self, const Arguments& arguments, Budget& budget) {
  const std::string& affix = expect_text("removeprefix", *bind("removeprefix", arguments, {"affix"}, 1)[0]);
  if (affix.empty() || !*affix_method<at_start>(self, arguments, budget).as_bool()) return Value(self);
  return Value(at_start ? self.substr(affix.size()) : self.substr(0, self.size() - affix.size()));
}

Values split_spaces(std::string_view text, std::int64_t most) {
  Values parts;
  std::string_view rest = strip(text, Side::Left);
  while (!rest.empty()) {
    std::size_t end = 0;
    while (end < rest.size() && !is_space(character_at(rest, end))) end = next_character(rest, end);
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) >= most) end = rest.size();
    parts.emplace_back(rest.substr(0, end));
    rest = strip(rest.substr(end), Side::Left);
  }
  return parts;
}

Values split_spaces_from_right(std::string_view text, std::int64_t most) {
  Values parts;
  std::string_view rest = strip(text, Side::Right);
  while (!rest.empty()) {
    std::size_t begin = rest.size();
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) >= most) {
      parts.emplace_back(rest);
      break;
    }
    while (begin > 0) {  // back over one character
      std::size_t start = begin - 1;
      while (start > 0 && (static_cast<unsigned char>(rest[start]) & 0xC0) == 0x80) --start;
      if (is_space(character_at(rest, start))) break;
      begin = start;
    }
    parts.emplace_back(rest.substr(begin));
    rest = strip(rest.substr(0, begin), Side::Right);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Values split_at(std::string_view text, const std::string& separator, std::int64_t most, bool from_right) {
  if (separator.empty()) throw Failure("split: the separator is empty");
  Values parts;
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
  }
  parts.emplace_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const auto given = bind("split", arguments, {"sep", "maxsplit"}, 0);
  const std::int64_t most = expect_integer("split", given[1], -1);
  budget.work(self.size() / 2);  // parts can be that many
  if (!given[0] || given[0]->is_none()) {
    return Value::list(from_right ? split_spaces_from_right(self, most) : split_spaces(self, most));
  }
  const std::string& separator = expect_text("split", *given[0]);
  budget.search(self.size(), separator.size());
  return Value::list(split_at(self, separator, most, from_right));
}

Value split_lines(const std::string& self, const Arguments& arguments, Budget& budget) {
  const auto given = bind("splitlines", arguments, {"keepends"}, 0);
  const bool keep = given[0] && truthy(*given[0]);
  budget.work(self.size());
  Values lines;
  const auto ends_line = [](std::uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  for (std::size_t begin = 0; begin < self.size();) {
    std::size_t end = begin;
    while (end < self.size() && !ends_line(character_at(self, end))) end = next_character(self, end);
    std::size_t next = end < self.size() ? next_character(self, end) : end;
    if (end < self.size() && self[end] == '\r' && next < self.size() && self[next] == '\n') ++next;
    lines.emplace_back(self.substr(begin, (keep ? next : end) - begin));
    begin = next;
  }
  return Value::list(std::move(lines));
}

template <bool from_right>
Value partition(const std::string& self, const Arguments& arguments, Budget& budget) {
  const std::string& separator = expect_text("partition", *bind("partition", arguments, {"sep"}, 1)[0]);
  budget.search(self.size(), separator.size());
  if (separator.empty()) throw Failure("partition: the separator is empty");
  const std::size_t at = from_right ? self.rfind(separator) : self.find(separator);
  if (at == std::string::npos) {
    return from_right ? Value::tuple({Value(""), Value(""), Value(self)})
                      : Value::tuple({Value(self), Value(""), Value("")});
  }
  return Value::tuple({Value(self.substr(0, at)), Value(separator), Value(self.substr(at + separator.size()))});
}

template <bool from_right, bool must_find>
Value find_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const std::string& wanted = expect_text("find", *bind("find", arguments, {"sub"}, 1)[0]);
  budget.search(self.size(), wanted.size());
  const std::size_t at = from_right ? self.rfind(wanted) : self.find(wanted);
  if (at == std::string::npos && must_find) throw Failure("index: the text does not occur");
  if (at == std::string::npos) return Value(-1);
  return Value(static_cast<std::int64_t>(count_characters(std::string_view(self).substr(0, at))));
}

Value count_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const std::string& wanted = expect_text("count", *bind("count", arguments, {"sub"}, 1)[0]);
  budget.search(self.size(), wanted.size());
  if (wanted.empty()) return Value(static_cast<std::int64_t>(count_characters(self)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = self.find(wanted); at != std::string::npos; at = self.find(wanted, at + wanted.size())) ++count;
  return Value(count);
}

Value join_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const Values items = iterate(*bind("join", arguments, {"iterable"}, 1)[0], budget);
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string& piece = expect_text("join", items[i]);
    budget.grow(out.size(), self.size() + piece.size());
    if (i > 0) out += self;
    out += piece;
  }
  return Value(std::move(out));
}

Value replace_method(const std::string& self, const Arguments& arguments, Budget& budget) {
  const auto given = bind("replace", arguments, {"old", "new", "count"}, 2);
  return Value(replace(self, expect_text("replace", *given[0]), expect_text("replace", *given[1]),
                       expect_integer("replace", given[2], -1), budget));
}

Value fill_zeros(const std::string& self, const Arguments& arguments, Budget& budget) {
  const std::int64_t width = expect_integer("zfill", bind("zfill", arguments, {"width"}, 1)[0], 0);
  const auto size = static_cast<std::int64_t>(count_characters(self));
  if (width <= size) return Value(self);
  budget.text(static_cast<std::size_t>(width));
  const std::size_t sign = !self.empty() && (self[0] == '-' || self[0] == '+') ? 1 : 0;
  return Value(self.substr(0, sign) + std::string(static_cast<std::size_t>(width - size), '0') + self.substr(sign));
}

template <bool (*all_are)(std::uint32_t)>
Value all_characters(const std::string& self, const Arguments& arguments, Budget& budget) {
  bind("the method", arguments, {}, 0);
  budget.text(self.size());
  for (std::size_t i = 0; i < self.size(); i = next_character(self, i)) {
    if (!all_are(character_at(self, i))) return Value(false);
  }
  return Value(!self.empty());
}

bool is_letter_or_digit(std::uint32_t code) { return is_letter(code) || is_digit(code); }

template <std::string (*map)(std::string_view)>
Value mapped(const std::string& self, const Arguments& arguments, Budget& budget) {
  bind("the method", arguments, {}, 0);
  budget.map_case(self.size());
  return Value(map(self));
}

Value is_upper(const std::string& self, const Arguments&, Budget& budget) {
  budget.map_case(2 * self.size());
  return Value(upper(self) == self && lower(self) != self);
}

Value is_lower(const std::string& self, const Arguments&, Budget& budget) {
  budget.map_case(2 * self.size());
  return Value(lower(self) == self && upper(self) != self);
}

const std::map<std::string_view, TextMethod>& text_methods() {
  static const std::map<std::string_view, TextMethod> table = {
      {"strip", strip_method<Side::Both>},
      {"lstrip", strip_method<Side::Left>},
      {"rstrip", strip_method<Side::Right>},
      {"startswith", affix_method<true>},
      {"endswith", affix_method<false>},
      {"removeprefix", remove_affix<true>},
      {"removesuffix", remove_affix<false>},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", split_lines},
      {"partition", partition<false>},
      {"rpartition", partition<true>},
      {"find", find_method<false, false>},
      {"rfind", find_method<true, false>},
      {"index", find_method<false, true>},
      {"rindex", find_method<true, true>},
      {"count", count_method},
      {"join", join_method},
      {"replace", replace_method},
      {"zfill", fill_zeros},
      {"upper", mapped<upper>},
      {"lower", mapped<lower>},
      {"capitalize", mapped<capitalize>},
      {"title", mapped<title>},
      {"isspace", all_characters<is_space>},
      {"isalpha", all_characters<is_letter>},
      {"isdigit", all_characters<is_digit>},
      {"isalnum", all_characters<is_letter_or_digit>},
      {"isupper", is_upper},
      {"islower", is_lower},
  };
  return table;
}

// Methods of Python's str that templates do not get: naming one is an error, not an undefined value.
constexpr std::array<std::string_view, 16> kOtherTextMethods = {
    "casefold", "center",       "encode",    "expandtabs",  "format",  "format_map", "isascii",  "isdecimal",
    "ljust",    "isidentifier", "isnumeric", "isprintable", "istitle", "rjust",      "swapcase", "translate"};
}  // namespace

bool is_text_method(std::string_view name) {
  return text_methods().count(name) > 0 ||
         std::find(kOtherTextMethods.begin(), kOtherTextMethods.end(), name) != kOtherTextMethods.end();
}

Value call_text_method(const std::string& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  const auto found = text_methods().find(name);
  if (found == text_methods().end()) {
    throw Failure("the method '" + name + "' of text is not supported in chat templates");
  }
  budget.text(self.size());
  return found->second(self, arguments, budget);
}

}  // namespace grpo::jinja
