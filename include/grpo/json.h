// One tree for run configs (YAML or JSON), dataset rows, reward parameters and the program's JSON lines.
//
// Objects keep the order of their keys. A parsed node knows where it stood, so every later complaint can name
// file:line:column. Ours, because nothing packaged keeps locations, refuses duplicate keys and bounds depth, and
// because public headers must not impose a JSON library. A value: copy freely, no thread-safety beyond const.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

class GRPO_API Json {
 public:
  using List = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  enum class Kind { Null, Bool, Int, Double, String, List, Object };  // same order as the variant below

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(std::int64_t{value}) {}
  Json(long value) : value_(std::int64_t{value}) {}
  Json(long long value) : value_(std::int64_t{value}) {}
  Json(unsigned value) : value_(std::int64_t{value}) {}
  Json(unsigned long value) : value_(static_cast<std::int64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(List value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  template <class T>
  Json(const std::vector<T>& values) : value_(List(values.begin(), values.end())) {}

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::Null; }
  bool is_bool() const { return kind() == Kind::Bool; }
  bool is_int() const { return kind() == Kind::Int; }
  bool is_number() const { return kind() == Kind::Int || kind() == Kind::Double; }
  bool is_string() const { return kind() == Kind::String; }
  bool is_list() const { return kind() == Kind::List; }
  bool is_object() const { return kind() == Kind::Object; }

  // Typed access; throws Error "<where>: expected <type>, got <text>". as_int accepts 3.0, as_double accepts 3.
  bool as_bool() const;
  std::int64_t as_int() const;
  double as_double() const;
  const std::string& as_string() const;
  const List& as_list() const;
  List& as_list();
  const Object& as_object() const;
  Object& as_object();

  const Json* find(std::string_view key) const;  // null when absent or when this is no object
  const Json& at(std::string_view key) const;    // throws Error naming the missing key
  Json& operator[](std::string_view key);        // inserts null; a null becomes an object
  void push_back(Json value);                    // a null becomes a list
  bool erase(std::string_view key);
  std::size_t size() const;  // of a list or object, else 0

  bool operator==(const Json& other) const { return value_ == other.value_; }  // locations do not count; 1 != 1.0

  // `indent` < 0: one line, ", " and ": " separators (as Python's json.dumps, ensure_ascii=false).
  // Doubles round-trip (shortest form); non-finite doubles are written as null.
  std::string dump(int indent = -1) const;

  // "file:line:column", "line N" without a file name, or "" for a node that was not parsed.
  std::string where() const;
  void set_location(std::shared_ptr<const std::string> file, int line, int column);
  int line() const { return line_; }

 private:
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, List, Object> value_ = nullptr;
  std::shared_ptr<const std::string> file_;
  int line_ = 0;
  int column_ = 0;
};

struct JsonParseOptions {
  std::string source = {};      // file name for messages
  int first_line = 1;           // line number of the text's first line (for JSONL)
  bool allow_comments = false;  // // and /* */
  int max_depth = 200;
};

// Strict JSON (RFC 8259; invalid UTF-8, duplicate keys, trailing text and excess depth are errors).
GRPO_API Json parse_json(std::string_view text, const JsonParseOptions& options = {});
// YAML through yaml-cpp with YAML 1.2 core types; duplicate keys, anchors beyond depth, non-string keys are errors.
GRPO_API Json parse_yaml(std::string_view text, const std::string& source = {});
// By extension: .json (comments allowed), else YAML.
GRPO_API Json load_tree(const std::string& path);

}  // namespace grpo::inline GRPO_ABI
