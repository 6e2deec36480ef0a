#include <grpo/json.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

const char* kind_name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::Null:
      return "null";
    case Json::Kind::Bool:
      return "true or false";
    case Json::Kind::Int:
      return "an integer";
    case Json::Kind::Double:
      return "a number";
    case Json::Kind::String:
      return "text";
    case Json::Kind::List:
      return "a list";
    case Json::Kind::Object:
      return "an object";
  }
  GRPO_ASSERT(false);
  return "";
}

std::string shortened(const Json& value) {
  constexpr std::size_t kMaxShown = 60;
  if (value.is_list() || value.is_object()) {
    return std::string(kind_name(value.kind())) + " of " + std::to_string(value.size());
  }
  std::string text = value.dump();
  if (text.size() <= kMaxShown) return text;
  std::size_t end = kMaxShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return text.substr(0, end) + "...";
}

[[noreturn]] void type_error(const Json& value, const std::string& expected) {
  const std::string where = value.where();
  throw Error((where.empty() ? "Json" : where) + ": expected " + expected + ", got " + shortened(value));
}

void append_escaped(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  std::size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    const std::size_t length = utf8_length(text.substr(i));
    if (length == 0) {
      out += "\xEF\xBF\xBD";  // U+FFFD: what is written is always valid JSON
      ++i;
      continue;
    }
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out.append(text, i, length);
        }
    }
    i += length;
  }
  out += '"';
}

// Python's repr: positional between 1e-4 and 1e16, else scientific; shortest digits that read back the same.
void append_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[64];
  const double size = std::abs(value);
  const bool positional = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = positional ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  out.append(buffer, end);
  if (positional && std::find(buffer, end, '.') == end) out += ".0";
}

void append_break(std::string& out, int indent, int level) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(level), ' ');
}

void append_value(std::string& out, const Json& value, int indent, int level) {
  const char* comma = indent < 0 ? ", " : ",";
  switch (value.kind()) {
    case Json::Kind::Null:
      out += "null";
      return;
    case Json::Kind::Bool:
      out += value.as_bool() ? "true" : "false";
      return;
    case Json::Kind::Int:
      out += std::to_string(value.as_int());
      return;
    case Json::Kind::Double:
      append_double(out, value.as_double());
      return;
    case Json::Kind::String:
      append_escaped(out, value.as_string());
      return;
    case Json::Kind::List: {
      out += '[';
      bool first = true;
      for (const Json& item : value.as_list()) {
        if (!first) out += comma;
        first = false;
        append_break(out, indent, level + 1);
        append_value(out, item, indent, level + 1);
      }
      if (!first) append_break(out, indent, level);
      out += ']';
      return;
    }
    case Json::Kind::Object: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.as_object()) {
        if (!first) out += comma;
        first = false;
        append_break(out, indent, level + 1);
        append_escaped(out, key);
        out += ": ";
        append_value(out, item, indent, level + 1);
      }
      if (!first) append_break(out, indent, level);
      out += '}';
      return;
    }
  }
  GRPO_ASSERT(false);
}

}  // namespace

bool Json::as_bool() const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  type_error(*this, "true or false");
}

std::int64_t Json::as_int() const {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
  if (const double* value = std::get_if<double>(&value_)) {
    // 2^63 is exact as a double, so the range test is too.
    if (*value >= -9223372036854775808.0 && *value < 9223372036854775808.0 && *value == std::floor(*value)) {
      return static_cast<std::int64_t>(*value);
    }
  }
  type_error(*this, "an integer");
}

double Json::as_double() const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
  type_error(*this, "a number");
}

const std::string& Json::as_string() const {
  if (const auto* value = std::get_if<std::string>(&value_)) return *value;
  type_error(*this, "text");
}

const Json::List& Json::as_list() const {
  if (const auto* value = std::get_if<List>(&value_)) return *value;
  type_error(*this, "a list");
}

Json::List& Json::as_list() { return const_cast<List&>(std::as_const(*this).as_list()); }

const Json::Object& Json::as_object() const {
  if (const auto* value = std::get_if<Object>(&value_)) return *value;
  type_error(*this, "an object");
}

Json::Object& Json::as_object() { return const_cast<Object&>(std::as_const(*this).as_object()); }

const Json* Json::find(std::string_view key) const {
  const auto* object = std::get_if<Object>(&value_);
  if (!object) return nullptr;
  for (const auto& [name, value] : *object) {
    if (name == key) return &value;
  }
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  if (const Json* value = find(key)) return *value;
  as_object();  // the more telling error when this is none
  throw Error((where().empty() ? "Json" : where()) + ": expected key \"" + std::string(key) + "\", got none");
}

Json& Json::operator[](std::string_view key) {
  if (is_null()) value_ = Object{};
  Object& object = as_object();
  for (auto& [name, value] : object) {
    if (name == key) return value;
  }
  return object.emplace_back(std::string(key), Json()).second;
}

void Json::push_back(Json value) {
  if (is_null()) value_ = List{};
  as_list().push_back(std::move(value));
}

bool Json::erase(std::string_view key) {
  Object& object = as_object();
  const auto found = std::find_if(object.begin(), object.end(), [&](const auto& entry) { return entry.first == key; });
  if (found == object.end()) return false;
  object.erase(found);
  return true;
}

std::size_t Json::size() const {
  if (const auto* list = std::get_if<List>(&value_)) return list->size();
  if (const auto* object = std::get_if<Object>(&value_)) return object->size();
  return 0;
}

std::string Json::dump(int indent) const {
  std::string out;
  append_value(out, *this, indent, 0);
  return out;
}

std::string Json::where() const {
  if (line_ == 0) return "";
  if (!file_ || file_->empty()) return "line " + std::to_string(line_);
  return *file_ + ":" + std::to_string(line_) + ":" + std::to_string(column_);
}

void Json::set_location(std::shared_ptr<const std::string> file, int line, int column) {
  file_ = std::move(file);
  line_ = line;
  column_ = column;
}

}  // namespace grpo::inline GRPO_ABI
