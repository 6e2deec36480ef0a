// Field lists: every key of a configuration section described once.
//
// A row knows its key, its member, what values are allowed and one line of text. Reading a tree, writing one, the
// reference page and --help all walk the rows. Lists are immutable once built.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <grpo/json.h>

#include "base/enums.h"

namespace grpo::fields {

// Allowed numbers: low <= x <= high, without an end point that is open.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool open_low = false;
  bool open_high = false;

  bool contains(double value) const;
  std::string text() const;  // ">= 0 and < 1"; "" when everything is allowed
};
inline Range anything() { return {}; }
inline Range at_least(double low) { return {.low = low}; }
inline Range above(double low) { return {.low = low, .open_low = true}; }
inline Range between(double low, double high) { return {.low = low, .high = high}; }

// What a field is needed for. Several are joined by |.
enum Need : unsigned { kOptional = 0, kTrainGrpo = 1, kTrainSft = 2, kScore = 4, kEvaluate = 8 };

struct FieldInfo {
  std::string name;
  std::string type;  // in words, with the allowed range or names
  std::string doc;
  Json schema = {};  // JSON Schema of a value; null for sections
  unsigned needed_for = kOptional;
  std::vector<FieldInfo> children = {};  // of a section or of the items of a list of sections
  bool is_list = false;                  // a list of sections
  Json default_value = {};               // null for sections
};

// Where reading stands: the dotted path of the value, the file that relative paths start from, and who can say more
// about a key that no row has (given the section's path and the key; "" if nothing is known).
struct FieldContext {
  std::string path;
  std::string base_file;
  std::function<std::string(const std::string& section, const std::string& key)> explain;

  FieldContext child(const std::string& key) const {
    return {path.empty() ? key : path + "." + key, base_file, explain};
  }
};

template <class S>
struct Field {
  FieldInfo info;
  std::function<void(S&, const Json&, const FieldContext&)> read;
  std::function<Json(const S&)> write;
};

template <class S>
using Fields = std::vector<Field<S>>;

// Throws "<where>: <path>: expected <expected>, got <value>".
[[noreturn]] void field_error(const Json& value, const FieldContext& context, const std::string& expected);
[[noreturn]] void unknown_key(const Json& value, const FieldContext& context, const std::string& key,
                              const std::vector<std::string>& known);

// One value of each type, checked.
std::int64_t read_integer(const Json& value, const FieldContext& context, const Range& range);
double read_number(const Json& value, const FieldContext& context, const Range& range);
bool read_flag(const Json& value, const FieldContext& context);
std::string read_text(const Json& value, const FieldContext& context);
std::string read_choice(const Json& value, const FieldContext& context, const std::vector<std::string>& choices);
std::string read_path(const Json& value, const FieldContext& context);
std::vector<std::string> read_texts(const Json& value, const FieldContext& context);
Json read_object(const Json& value, const FieldContext& context);
std::string read_enum_name(const Json& value, const FieldContext& context, const std::string& choices);

std::string described(const std::string& type, const Range& range);
// "a, b or c".
std::string listed(const std::vector<std::string>& choices);

// JSON Schemas of one value: a number in a range ("integer" or "number"), a name out of several ("true" and "false"
// are written without quotes).
Json number_schema(const char* type, const Range& range);
Json choice_schema(const std::vector<std::string>& choices);
inline Json type_schema(const char* type) { return Json::Object{{"type", type}}; }
// Null is allowed as well.
Json or_null(Json schema);

// Sets the members that `tree` has keys for and leaves the others.
template <class S>
void read_fields(const Fields<S>& fields, S& section, const Json& tree, const FieldContext& context) {
  if (!tree.is_object()) field_error(tree, context, "keys and values");
  for (const auto& [key, value] : tree.as_object()) {
    const Field<S>* found = nullptr;
    for (const Field<S>& field : fields) {
      if (field.info.name == key) found = &field;
    }
    if (!found) {
      std::vector<std::string> known;
      for (const Field<S>& field : fields) known.push_back(field.info.name);
      unknown_key(value, context, key, known);
    }
    found->read(section, value, context.child(key));
  }
}

template <class S>
Json write_fields(const Fields<S>& fields, const S& section) {
  Json tree = Json::Object{};
  for (const Field<S>& field : fields) tree[field.info.name] = field.write(section);
  return tree;
}

template <class S>
std::vector<FieldInfo> field_infos(const Fields<S>& fields) {
  std::vector<FieldInfo> infos;
  const S defaults{};
  for (const Field<S>& field : fields) {
    infos.push_back(field.info);
    if (field.info.children.empty()) infos.back().default_value = field.write(defaults);
  }
  return infos;
}

// ---- rows -----------------------------------------------------------------------------------------------------------

template <class S, class Int>
Field<S> integer(const char* name, Int S::*member, const Range& range, const char* doc) {
  return {{name, described("integer", range), doc, number_schema("integer", range)},
          [=](S& section, const Json& value, const FieldContext& context) {
            const std::int64_t given = read_integer(value, context, range);
            section.*member = static_cast<Int>(given);
            if (section.*member != given) field_error(value, context, "an integer of 32 bits");
          },
          [=](const S& section) { return Json(static_cast<std::int64_t>(section.*member)); }};
}

template <class S>
Field<S> number(const char* name, double S::*member, const Range& range, const char* doc) {
  return {{name, described("number", range), doc, number_schema("number", range)},
          [=](S& section, const Json& value, const FieldContext& context) {
            section.*member = read_number(value, context, range);
          },
          [=](const S& section) { return Json(section.*member); }};
}

template <class S>
Field<S> optional_number(const char* name, std::optional<double> S::*member, const Range& range, const char* doc) {
  return {{name, described("number", range) + " or null", doc, or_null(number_schema("number", range))},
          [=](S& section, const Json& value, const FieldContext& context) {
            section.*member = value.is_null() ? std::nullopt : std::optional(read_number(value, context, range));
          },
          [=](const S& section) { return section.*member ? Json(*(section.*member)) : Json(); }};
}

template <class S>
Field<S> flag(const char* name, bool S::*member, const char* doc) {
  return {
      {name, "true or false", doc, type_schema("boolean")},
      [=](S& section, const Json& value, const FieldContext& context) { section.*member = read_flag(value, context); },
      [=](const S& section) { return Json(section.*member); }};
}

template <class S>
Field<S> text(const char* name, std::string S::*member, const char* doc) {
  return {
      {name, "text", doc, type_schema("string")},
      [=](S& section, const Json& value, const FieldContext& context) { section.*member = read_text(value, context); },
      [=](const S& section) { return Json(section.*member); }};
}

// A file or folder; relative ones start from the folder of the configuration file.
template <class S>
Field<S> path(const char* name, std::string S::*member, const char* doc, unsigned needed_for = kOptional) {
  return {
      {name, "path", doc, type_schema("string"), needed_for},
      [=](S& section, const Json& value, const FieldContext& context) { section.*member = read_path(value, context); },
      [=](const S& section) { return Json(section.*member); }};
}

template <class S>
Field<S> choice(const char* name, std::string S::*member, std::vector<std::string> choices, const char* doc) {
  return {{name, listed(choices), doc, choice_schema(choices)},
          [=](S& section, const Json& value, const FieldContext& context) {
            section.*member = read_choice(value, context, choices);
          },
          [=](const S& section) { return Json(section.*member); }};
}

template <class S, class E>
Field<S> named(const char* name, E S::*member, const char* doc) {
  return {{name, enum_choices<E>(), doc, choice_schema(enum_accepted<E>())},
          [=](S& section, const Json& value, const FieldContext& context) {
            const std::string given = read_enum_name(value, context, enum_choices<E>());
            const std::optional<E> found = enum_from_name<E>(given);
            if (!found) field_error(value, context, enum_choices<E>());
            section.*member = *found;
          },
          [=](const S& section) { return Json(enum_name(section.*member)); }};
}

template <class S>
Field<S> texts(const char* name, std::vector<std::string> S::*member, const char* doc) {
  return {
      {name, "list of texts", doc, Json::Object{{"type", "array"}, {"items", type_schema("string")}}},
      [=](S& section, const Json& value, const FieldContext& context) { section.*member = read_texts(value, context); },
      [=](const S& section) { return Json(section.*member); }};
}

// A text row whose values are known by name; an unknown one is somebody else's complaint.
template <class S>
Field<S> with_names(Field<S> row, std::vector<std::string> names) {
  names.insert(names.begin(), "");
  row.info.schema = choice_schema(names);
  return row;
}

// Keys that somebody else reads: an object, or null for none.
template <class S>
Field<S> object(const char* name, Json S::*member, const char* doc) {
  return {{name, "keys and values, or null", doc, or_null(type_schema("object"))},
          [=](S& section, const Json& value, const FieldContext& context) {
            section.*member = read_object(value, context);
          },
          [=](const S& section) { return section.*member; }};
}

// ---- rows made of rows ----------------------------------------------------------------------------------------------

template <class S, class T>
Field<S> section(const char* name, T S::*member, const Fields<T>& fields, const char* doc) {
  return {{name, "section", doc, {}, kOptional, field_infos(fields)},
          [=](S& outer, const Json& value, const FieldContext& context) {
            read_fields(fields, outer.*member, value, context);
          },
          [=](const S& outer) { return write_fields(fields, outer.*member); }};
}

// A section whose keys are members of the aggregate around it.
template <class S>
Field<S> nested(const char* name, const Fields<S>& fields, const char* doc) {
  return {{name, "section", doc, {}, kOptional, field_infos(fields)},
          [=](S& outer, const Json& value, const FieldContext& context) { read_fields(fields, outer, value, context); },
          [=](const S& outer) { return write_fields(fields, outer); }};
}

// The rows of a member's aggregate, to stand directly among those of the aggregate around it.
template <class S, class T>
Fields<S> lifted(T S::*member, const Fields<T>& fields) {
  Fields<S> rows;
  for (const Field<T>& field : fields) {
    rows.push_back(
        {field.info,
         [=](S& outer, const Json& value, const FieldContext& context) { field.read(outer.*member, value, context); },
         [=](const S& outer) { return field.write(outer.*member); }});
  }
  return rows;
}

// A list of sections. Reading replaces the whole list.
template <class S, class T>
Field<S> list_of(const char* name, std::vector<T> S::*member, const Fields<T>& fields, const char* doc,
                 unsigned needed_for = kOptional) {
  return {{name, "list", doc, {}, needed_for, field_infos(fields), true},
          [=](S& outer, const Json& value, const FieldContext& context) {
            if (!value.is_list()) field_error(value, context, "a list");
            std::vector<T> items;
            for (const Json& item : value.as_list()) {
              const FieldContext place = context.child(std::to_string(items.size()));
              read_fields(fields, items.emplace_back(), item, place);
            }
            outer.*member = std::move(items);
          },
          [=](const S& outer) {
            Json::List list;
            for (const T& item : outer.*member) list.push_back(write_fields(fields, item));
            return Json(std::move(list));
          }};
}

}  // namespace grpo::fields
