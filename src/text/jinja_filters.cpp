// Filters on text and numbers.
#include "text/jinja_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "text/jinja_text.h"

namespace grpo::jinja {

namespace {

template <std::string (*map)(std::string_view)>
Value map_text(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("the filter", arguments, {}, 0);
  const std::string text = to_text(input, interpreter.budget());
  interpreter.budget().map_case(text.size());
  return Value(map(text));
}

Value trim(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("trim", arguments, {"chars"}, 0);
  const std::string text = to_text(input, interpreter.budget());
  if (!given[0] || given[0]->is_none()) return Value(strip(text, Side::Both));
  const std::string& characters = expect_text("trim", *given[0]);
  interpreter.budget().search(text.size(), characters.size());
  return Value(strip(text, Side::Both, &characters));
}

Value replace_filter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("replace", arguments, {"old", "new", "count"}, 2);
  Budget& budget = interpreter.budget();
  const Value* count = given[2] && !given[2]->is_none() ? given[2] : nullptr;
  return Value(replace(to_text(input, budget), to_text(*given[0], budget), to_text(*given[1], budget),
                       expect_integer("replace", count, -1), budget));
}

Value string_filter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("the filter", arguments, {}, 0);
  return input.as_text() ? input : Value(to_text(input, interpreter.budget()));
}

Value indent(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("indent", arguments, {"width", "first", "blank"}, 0);
  Budget& budget = interpreter.budget();
  const std::string space =
      given[0] && given[0]->as_text()
          ? *given[0]->as_text()
          : std::string(static_cast<std::size_t>(std::min<std::int64_t>(
                            std::max<std::int64_t>(expect_integer("indent", given[0], 4), 0), 1000)),
                        ' ');
  budget.text(space.size());
  const bool blank = given[2] && truthy(*given[2]);
  const std::string text = expect_text("indent", input) + "\n";
  const Value split = call_text_method(text, "splitlines", {}, budget);
  const Values& lines = split.as_sequence()->items;
  std::string out = given[1] && truthy(*given[1]) ? space : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = *lines[i].as_text();
    budget.grow(out.size(), space.size() + line.size() + 1);
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !line.empty())) out += space;
    out += line;
  }
  return Value(std::move(out));
}

Value default_filter(Interpreter&, const Value& input, const Arguments& arguments) {
  const auto given = bind("default", arguments, {"default_value", "boolean"}, 0);
  const bool replaces = input.is_undefined() || (given[1] && truthy(*given[1]) && !truthy(input));
  if (!replaces) return input;
  return given[0] ? *given[0] : Value("");
}

Value to_json(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.ensure_ascii = given[0] && truthy(*given[0]);
  style.sort_keys = given[3] && truthy(*given[3]);
  if (given[1] && !given[1]->is_none()) {
    style.pretty = true;
    style.item_separator.assign(1, ',');
    if (const std::string* text = given[1]->as_text()) {
      style.indent = *text;
    } else {
      const std::int64_t width = expect_integer("tojson: indent", given[1], 0);
      if (width > 100) throw Failure("tojson: an indent of more than 100");
      style.indent.assign(width > 0 ? static_cast<std::size_t>(width) : 0, ' ');
    }
  }
  if (given[2] && !given[2]->is_none()) {
    const Values separators = iterate(*given[2], interpreter.budget());
    if (separators.size() != 2) throw Failure("tojson: separators must be two texts");
    style.item_separator = expect_text("tojson: separators", separators[0]);
    style.key_separator = expect_text("tojson: separators", separators[1]);
  }
  interpreter.budget().text(style.indent.size() + style.item_separator.size() + style.key_separator.size());
  return Value(json_text(input, style, interpreter.budget()));
}

// Python's int(text, base) and float(text): surrounding white space, a sign and single underscores are allowed.
std::optional<std::string> number_digits(std::string_view text) {
  std::string digits;
  for (const char c : strip(text, Side::Both)) {
    if (c == '_' && (digits.empty() || digits.back() == '_')) return std::nullopt;
    digits += c;
  }
  if (digits.empty() || digits.back() == '_') return std::nullopt;
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  if (digits[0] == '+') digits.erase(0, 1);
  if (digits.empty() || digits[0] == '+' || (digits[0] == '-' && digits.size() == 1)) return std::nullopt;
  return digits;
}

std::optional<double> parse_float(std::string_view text) {
  const auto digits = number_digits(text);
  if (!digits) return std::nullopt;
  double value = 0;
  const auto result = std::from_chars(digits->data(), digits->data() + digits->size(), value);
  if (result.ptr != digits->data() + digits->size()) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) return std::strtod(digits->c_str(), nullptr);
  return value;
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  auto digits = number_digits(text);
  if (!digits) return std::nullopt;
  const std::size_t sign = (*digits)[0] == '-' ? 1 : 0;
  const std::string prefix = lower(std::string_view(*digits).substr(sign, 2));
  if ((base == 16 && prefix == "0x") || (base == 8 && prefix == "0o") || (base == 2 && prefix == "0b")) {
    digits->erase(sign, 2);
  }
  std::int64_t value = 0;
  const auto result = std::from_chars(digits->data(), digits->data() + digits->size(), value, base);
  if (result.ptr != digits->data() + digits->size()) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) throw Failure("int: an integer beyond 64 bits");
  if (result.ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::fabs(value) >= 9223372036854775808.0) throw Failure("int: an integer beyond 64 bits");
  return static_cast<std::int64_t>(value);
}

Value int_filter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("int", arguments, {"default", "base"}, 0);
  const std::int64_t base = expect_integer("int", given[1], 10);
  if (base < 2 || base > 36) throw Failure("int: the base must be in 2..36, got " + std::to_string(base));
  if (input.is_undefined()) throw Failure(input.undefined_reason());
  std::optional<std::int64_t> value = input.integer();
  if (const double* real = input.as_float()) value = truncated(*real);
  if (const std::string* text = input.as_text()) {
    interpreter.budget().text(text->size());
    value = parse_integer(*text, static_cast<int>(base));
    const auto real = value ? std::nullopt : parse_float(*text);
    if (real) value = truncated(*real);
  }
  if (value) return Value(*value);
  return given[0] ? *given[0] : Value(0);
}

Value float_filter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("float", arguments, {"default"}, 0);
  if (input.is_undefined()) throw Failure(input.undefined_reason());
  if (input.is_number()) return Value(input.number());
  std::optional<double> value;
  if (const std::string* text = input.as_text()) {
    interpreter.budget().text(text->size());
    value = parse_float(*text);
  }
  if (value) return Value(*value);
  return given[0] ? *given[0] : Value(0.0);
}

Value abs_filter(Interpreter&, const Value& input, const Arguments& arguments) {
  bind("abs", arguments, {}, 0);
  if (const double* real = input.as_float()) return Value(std::fabs(*real));
  const std::int64_t whole = expect_integer("abs", &input, 0);
  return whole < 0 ? unary_operator("-", Value(whole)) : Value(whole);
}

Value round_filter(Interpreter&, const Value& input, const Arguments& arguments) {
  const auto given = bind("round", arguments, {"precision", "method"}, 0);
  const std::int64_t precision = expect_integer("round", given[0], 0);
  const std::string method = given[1] ? expect_text("round", *given[1]) : "common";
  if (precision < 0 || precision > 300) throw Failure("round: the precision must be in 0..300");
  if (!input.is_number()) throw Failure("round expects a number, got " + std::string(type_name(input)));
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return Value((method == "ceil" ? std::ceil(input.number() * scale) : std::floor(input.number() * scale)) / scale);
  }
  if (method != "common") throw Failure("round: the method must be common, ceil or floor, got '" + method + "'");
  if (!input.as_float() || !std::isfinite(input.number())) return input.as_float() ? input : Value(*input.integer());
  // printf rounds the exact binary value, ties to even, as Python does.
  char buffer[700];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), input.number());
  return Value(std::strtod(buffer, nullptr));
}

}  // namespace

FilterFunction find_filter(std::string_view name) {
  static const std::map<std::string_view, FilterFunction> table = {
      {"upper", map_text<upper>},
      {"lower", map_text<lower>},
      {"capitalize", map_text<capitalize>},
      {"title", map_text<title_words>},
      {"trim", trim},
      {"replace", replace_filter},
      {"string", string_filter},
      {"indent", indent},
      {"default", default_filter},
      {"d", default_filter},
      {"safe", string_filter},
      {"tojson", to_json},
      {"int", int_filter},
      {"float", float_filter},
      {"abs", abs_filter},
      {"round", round_filter},
  };
  const auto found = table.find(name);
  return found == table.end() ? find_sequence_filter(name) : found->second;
}

}  // namespace grpo::jinja
