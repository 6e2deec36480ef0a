// Values of a chat template: what Python would hold, with Python's truth, equality, order, str(), repr() and JSON.
//
// Values are shared and immutable, except namespaces (assigned by `set ns.x`) and generators (used up by iteration).
// Nothing here recurses deeper than kMaxValueDepth: containers refuse to be built deeper.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <grpo/json.h>

namespace grpo::jinja {

struct Statement;
struct Scope;
struct Loop;

// What went wrong inside a template, without its place; the interpreter adds name and line.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr int kMaxValueDepth = 250;

// What one rendering may spend: templates come with models, from strangers.
class Budget {
 public:
  static constexpr std::size_t kMaxWork = 5'000'000;
  static constexpr std::size_t kMaxTextBytes = std::size_t{16} << 20;  // of one string, and of the output

  void work(std::size_t units = 1) {
    if (units > left_) throw Failure("the template takes more than " + std::to_string(kMaxWork) + " steps");
    left_ -= units;
  }
  // Before `bytes` of text are looked through.
  void read(std::size_t bytes) { work(bytes / 32); }
  // Before the case of `bytes` of text is mapped, which takes a look-up for each character.
  void map_case(std::size_t bytes) { work(bytes / 4); }
  // Before `wanted` bytes are searched for in `bytes`, which takes up to their product.
  void search(std::size_t bytes, std::size_t wanted) { work(bytes / 32 + std::min(wanted, bytes) * bytes / 256); }
  // Before a string of `bytes` is made, or one of `size` bytes gets `added` more.
  void text(std::size_t bytes) { grow(0, bytes); }
  void grow(std::size_t size, std::size_t added) {
    if (added > kMaxTextBytes || size > kMaxTextBytes - added) {
      throw Failure("a text of more than " + std::to_string(kMaxTextBytes) + " bytes");
    }
    read(added);
  }

 private:
  std::size_t left_ = kMaxWork;
};

class Value;
using Values = std::vector<Value>;

struct Undefined {
  std::shared_ptr<const std::string> reason;  // said when the value is used
};
struct None {};

// Range and View print in their own way; a Generator has no length, is true, and is empty once iterated.
enum class SequenceKind { List, Tuple, Range, View, Generator };
struct Sequence {
  SequenceKind kind = SequenceKind::List;
  Values items;
  std::string label;  // Range: "range(0, 3)"; View: "dict_items"
  int depth = 1;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // insertion order; keys unique
  int depth = 1;
  const Value* find(const Value& key, Budget& budget) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> entries;
  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

struct Callable;

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(None) : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(int value) : data_(std::int64_t{value}) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<Sequence> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Dict> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Callable> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<Loop> value) : data_(std::move(value)) {}

  static Value undefined(std::string reason);
  static Value sequence(SequenceKind kind, Values items, std::string label = {});
  static Value list(Values items) { return sequence(SequenceKind::List, std::move(items)); }
  static Value tuple(Values items) { return sequence(SequenceKind::Tuple, std::move(items)); }
  static Value dict(std::vector<std::pair<Value, Value>> entries);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* as_bool() const { return std::get_if<bool>(&data_); }
  const std::int64_t* as_int() const { return std::get_if<std::int64_t>(&data_); }
  const double* as_float() const { return std::get_if<double>(&data_); }
  const std::string* as_text() const;
  Sequence* as_sequence() const;
  const Dict* as_dict() const;
  const std::shared_ptr<Namespace>* as_namespace() const { return std::get_if<std::shared_ptr<Namespace>>(&data_); }
  const Callable* as_callable() const;
  Loop* as_loop() const;
  bool is_number() const { return as_bool() || as_int() || as_float(); }
  std::optional<std::int64_t> integer() const;  // of an int or a bool
  double number() const;                        // of a number; 0 otherwise
  int depth() const;
  bool same_object(const Value& other) const;   // Python's `is`, where it can matter
  const std::string& undefined_reason() const;  // of an undefined value

 private:
  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Callable>, std::shared_ptr<Loop>>
      data_;
};

// Something that can be called: a method bound to its object, a function of the environment, or a macro.
struct Callable {
  enum class Kind { Method, Function, Macro };
  Kind kind = Kind::Function;
  std::string name;
  Value self;                        // Method
  const Statement* macro = nullptr;  // Macro; the scope is where it was defined, gone once that has ended
  std::weak_ptr<Scope> scope;
};

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};
// Arguments by parameter; null where one is absent. Throws when one is unknown, given twice or missing.
std::vector<const Value*> bind(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> parameters, std::size_t num_required);

Value from_json(const Json& json, int depth = 0);
std::string_view type_name(const Value& value);  // as Python calls it

bool truthy(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
enum class Order { Less, Equal, Greater, Unordered };
Order compare(const Value& a, const Value& b, Budget& budget);  // throws on types without an order
bool contains(const Value& container, const Value& item, Budget& budget);

bool is_iterable(const Value& value);
Values iterate(const Value& value, Budget& budget);  // uses generators up
std::optional<std::size_t> length(const Value& value, Budget& budget);

std::string to_text(const Value& value, Budget& budget);  // str()
std::string repr(const Value& value, Budget& budget);
std::string float_text(double value);  // repr() of a float

struct JsonStyle {
  bool ensure_ascii = false;
  bool pretty = false;  // `indent` counts
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
std::string json_text(const Value& value, const JsonStyle& style, Budget& budget);  // json.dumps

}  // namespace grpo::jinja
