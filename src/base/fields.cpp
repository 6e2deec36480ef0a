#include "base/fields.h"

#include <cmath>

#include "base/files.h"
#include "base/nearest.h"

namespace grpo::fields {
namespace {

std::string plain_number(double value) {
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  return whole ? Json(static_cast<std::int64_t>(value)).dump() : Json(value).dump();
}

std::string shown(const Json& value) {
  if (value.is_list()) return "a list";
  if (value.is_object()) return "keys and values";
  if (value.kind() == Json::Kind::Double && !std::isfinite(value.as_double())) {
    return std::isnan(value.as_double()) ? "nan" : value.as_double() < 0 ? "-infinity" : "infinity";
  }
  constexpr std::size_t kMaxShown = 80;
  const std::string text = value.dump();
  return text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "...";
}

std::string position(const Json& value, const FieldContext& context) {
  std::string text = value.where();
  if (!text.empty() && !context.path.empty()) text += ": ";
  return text + context.path;
}

}  // namespace

bool Range::contains(double value) const {
  return (open_low ? value > low : value >= low) && (open_high ? value < high : value <= high);
}

std::string Range::text() const {
  std::string text;
  if (std::isfinite(low)) text = (open_low ? "> " : ">= ") + plain_number(low);
  if (std::isfinite(high))
    text += (text.empty() ? "" : " and ") + std::string(open_high ? "< " : "<= ") + plain_number(high);
  return text;
}

std::string described(const std::string& type, const Range& range) {
  return range.text().empty() ? type : type + " " + range.text();
}

std::string listed(const std::vector<std::string>& choices) {
  std::string text;
  for (std::size_t i = 0; i < choices.size(); ++i)
    text += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
  return text;
}

Json number_schema(const char* type, const Range& range) {
  Json schema = type_schema(type);
  const auto bound = [](double value) {
    return value == std::floor(value) ? Json(static_cast<std::int64_t>(value)) : Json(value);
  };
  if (std::isfinite(range.low)) schema[range.open_low ? "exclusiveMinimum" : "minimum"] = bound(range.low);
  if (std::isfinite(range.high)) schema[range.open_high ? "exclusiveMaximum" : "maximum"] = bound(range.high);
  return schema;
}

Json choice_schema(const std::vector<std::string>& choices) {
  Json::List values;
  for (const std::string& choice : choices) {
    const bool is_flag = choice == "true" || choice == "false";
    values.push_back(is_flag ? Json(choice == "true") : Json(choice));
  }
  return Json::Object{{"enum", std::move(values)}};
}

Json or_null(Json schema) {
  schema["type"] = Json::List{schema.at("type"), "null"};
  return schema;
}

void field_error(const Json& value, const FieldContext& context, const std::string& expected) {
  const std::string where = position(value, context);
  throw Error((where.empty() ? "config" : where) + ": expected " + expected + ", got " + shown(value));
}

void unknown_key(const Json& value, const FieldContext& context, const std::string& key,
                 const std::vector<std::string>& known) {
  const std::string where = position(value, context.child(key));
  const std::string reason = context.explain ? context.explain(context.path, key) : "";
  if (!reason.empty()) throw Error(where + ": " + reason);
  throw Error(where + ": unknown key" + nearest_hint(key, known));
}

std::int64_t read_integer(const Json& value, const FieldContext& context, const Range& range) {
  constexpr double kTooLarge = 9223372036854775808.0;  // 2^63
  const bool whole = value.is_int() || (value.is_number() && value.as_double() == std::floor(value.as_double()) &&
                                        std::abs(value.as_double()) < kTooLarge);
  if (!whole || !range.contains(value.as_double())) field_error(value, context, "an " + described("integer", range));
  return value.as_int();
}

double read_number(const Json& value, const FieldContext& context, const Range& range) {
  const bool finite = value.is_number() && std::isfinite(value.as_double());
  if (!finite || !range.contains(value.as_double())) field_error(value, context, "a " + described("number", range));
  return value.as_double();
}

bool read_flag(const Json& value, const FieldContext& context) {
  if (!value.is_bool()) field_error(value, context, "true or false");
  return value.as_bool();
}

std::string read_text(const Json& value, const FieldContext& context) {
  if (!value.is_string())
    field_error(value, context, value.is_object() || value.is_list() ? "text" : "text (in quotes)");
  return value.as_string();
}

std::string read_path(const Json& value, const FieldContext& context) {
  const std::string given = read_text(value, context);
  if (given.find('\0') != given.npos) field_error(value, context, "a path without NUL bytes");
  return resolve_path(given, context.base_file);
}

std::string read_choice(const Json& value, const FieldContext& context, const std::vector<std::string>& choices) {
  for (const std::string& option : choices) {
    if (value.is_string() && value.as_string() == option) return option;
  }
  field_error(value, context, listed(choices));
}

std::vector<std::string> read_texts(const Json& value, const FieldContext& context) {
  if (!value.is_list()) field_error(value, context, "a list of texts");
  std::vector<std::string> texts;
  for (const Json& item : value.as_list()) {
    texts.push_back(read_text(item, context.child(std::to_string(texts.size()))));
  }
  return texts;
}

Json read_object(const Json& value, const FieldContext& context) {
  if (!value.is_object() && !value.is_null()) field_error(value, context, "keys and values");
  return value;
}

std::string read_enum_name(const Json& value, const FieldContext& context, const std::string& choices) {
  if (value.is_bool()) return value.as_bool() ? "true" : "false";  // some enums take these as names
  if (!value.is_string()) field_error(value, context, choices);
  return value.as_string();
}

}  // namespace grpo::fields
