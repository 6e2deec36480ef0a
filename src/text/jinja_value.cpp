#include "text/jinja_value.h"

#include <algorithm>

#include "text/jinja_text.h"

namespace grpo::jinja {

const Value* Dict::find(const Value& key, Budget& budget) const {
  budget.work(entries.size() / 8);
  for (const auto& [name, value] : entries) {
    if (equal(name, key, budget)) return &value;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.as_text() && *name.as_text() == key) return &value;
  }
  return nullptr;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& entry : entries) {
    if (entry.first == name) return &entry.second;
  }
  return nullptr;
}

void Namespace::set(const std::string& name, Value value) {
  for (auto& entry : entries) {
    if (entry.first == name) {
      entry.second = std::move(value);
      return;
    }
  }
  if (entries.size() >= 10'000) throw Failure("a namespace with more than 10000 attributes");
  entries.emplace_back(name, std::move(value));
}

Value Value::undefined(std::string reason) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(reason))};
  return value;
}

namespace {

int checked_depth(int deepest_child) {
  if (deepest_child >= kMaxValueDepth) {
    throw Failure("a value nested more than " + std::to_string(kMaxValueDepth) + " levels deep");
  }
  return deepest_child + 1;
}

}  // namespace

Value Value::sequence(SequenceKind kind, Values items, std::string label) {
  auto result = std::make_shared<Sequence>();
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  result->kind = kind;
  result->items = std::move(items);
  result->label = std::move(label);
  result->depth = checked_depth(deepest);
  return result;
}

Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  auto result = std::make_shared<Dict>();
  int deepest = 0;
  for (const auto& [key, value] : entries) deepest = std::max({deepest, key.depth(), value.depth()});
  result->entries = std::move(entries);
  result->depth = checked_depth(deepest);
  return std::shared_ptr<const Dict>(std::move(result));
}

const std::string* Value::as_text() const {
  const auto* held = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return held ? held->get() : nullptr;
}

Sequence* Value::as_sequence() const {
  const auto* held = std::get_if<std::shared_ptr<Sequence>>(&data_);
  return held ? held->get() : nullptr;
}

const Dict* Value::as_dict() const {
  const auto* held = std::get_if<std::shared_ptr<const Dict>>(&data_);
  return held ? held->get() : nullptr;
}

const Callable* Value::as_callable() const {
  const auto* held = std::get_if<std::shared_ptr<const Callable>>(&data_);
  return held ? held->get() : nullptr;
}

Loop* Value::as_loop() const {
  const auto* held = std::get_if<std::shared_ptr<Loop>>(&data_);
  return held ? held->get() : nullptr;
}

std::optional<std::int64_t> Value::integer() const {
  if (const bool* flag = as_bool()) return *flag ? 1 : 0;
  if (const std::int64_t* whole = as_int()) return *whole;
  return std::nullopt;
}

double Value::number() const {
  if (const double* real = as_float()) return *real;
  return static_cast<double>(integer().value_or(0));
}

int Value::depth() const {
  if (const Sequence* sequence = as_sequence()) return sequence->depth;
  if (const Dict* dict = as_dict()) return dict->depth;
  if (const Callable* callable = as_callable()) return callable->self.depth() + 1;
  return 0;
}

bool Value::same_object(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  return std::visit(
      [&](const auto& mine) {
        using T = std::decay_t<decltype(mine)>;
        const T& theirs = std::get<T>(other.data_);
        if constexpr (std::is_same_v<T, Undefined>) {
          return mine.reason == theirs.reason;
        } else if constexpr (std::is_same_v<T, None>) {
          return true;
        } else if constexpr (std::is_same_v<T, std::shared_ptr<const std::string>>) {
          return *mine == *theirs;
        } else {
          return mine == theirs;
        }
      },
      data_);
}

const std::string& Value::undefined_reason() const {
  static const std::string fallback = "the value is undefined";
  const auto* held = std::get_if<Undefined>(&data_);
  return held && held->reason ? *held->reason : fallback;
}

std::vector<const Value*> bind(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> parameters, std::size_t num_required) {
  const std::string name(function);
  std::vector<const Value*> bound(parameters.size(), nullptr);
  if (arguments.positional.size() > parameters.size()) {
    throw Failure(name + " takes at most " + std::to_string(parameters.size()) + " arguments, got " +
                  std::to_string(arguments.positional.size()));
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [key, value] : arguments.named) {
    const auto* found = std::find(parameters.begin(), parameters.end(), key);
    if (found == parameters.end()) throw Failure(name + " takes no argument '" + key + "'");
    const Value*& slot = bound[static_cast<std::size_t>(found - parameters.begin())];
    if (slot) throw Failure(name + " got argument '" + key + "' twice");
    slot = &value;
  }
  for (std::size_t i = 0; i < num_required; ++i) {
    if (!bound[i]) throw Failure(name + " needs argument '" + std::string(parameters.begin()[i]) + "'");
  }
  return bound;
}

Value from_json(const Json& json, int depth) {
  if (depth >= kMaxValueDepth) checked_depth(depth);
  switch (json.kind()) {
    case Json::Kind::Null:
      return None{};
    case Json::Kind::Bool:
      return json.as_bool();
    case Json::Kind::Int:
      return json.as_int();
    case Json::Kind::Double:
      return json.as_double();
    case Json::Kind::String:
      return json.as_string();
    case Json::Kind::List: {
      Values items;
      items.reserve(json.size());
      for (const Json& item : json.as_list()) items.push_back(from_json(item, depth + 1));
      return Value::list(std::move(items));
    }
    case Json::Kind::Object: {
      std::vector<std::pair<Value, Value>> entries;
      entries.reserve(json.size());
      for (const auto& [key, item] : json.as_object()) entries.emplace_back(Value(key), from_json(item, depth + 1));
      return Value::dict(std::move(entries));
    }
  }
  throw Failure("from_json: a JSON value of no known kind");
}

std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.as_bool()) return "bool";
  if (value.as_int()) return "int";
  if (value.as_float()) return "float";
  if (value.as_text()) return "str";
  if (value.as_dict()) return "dict";
  if (value.as_namespace()) return "Namespace";
  if (value.as_loop()) return "LoopContext";
  if (const Sequence* sequence = value.as_sequence()) {
    switch (sequence->kind) {
      case SequenceKind::List:
        return "list";
      case SequenceKind::Tuple:
        return "tuple";
      case SequenceKind::Range:
        return "range";
      case SequenceKind::View:
        return sequence->label;
      case SequenceKind::Generator:
        return "generator";
    }
  }
  return "function";
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_number()) return value.number() != 0;
  if (const std::string* text = value.as_text()) return !text->empty();
  if (const Dict* dict = value.as_dict()) return !dict->entries.empty();
  if (const Sequence* sequence = value.as_sequence()) {
    return sequence->kind == SequenceKind::Generator || !sequence->items.empty();
  }
  return true;
}

namespace {

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first, budget);
    return other && equal(entry.second, *other, budget);
  });
}

bool equal_sequences(const Sequence& a, const Sequence& b, Budget& budget) {
  if (a.kind != b.kind || a.kind == SequenceKind::Generator || a.items.size() != b.items.size()) return &a == &b;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(a.items[i], b.items[i], budget)) return false;
  }
  return true;
}

Order order_of(double a, double b) {
  return a < b ? Order::Less : a > b ? Order::Greater : a == b ? Order::Equal : Order::Unordered;
}

Order compare_numbers(const Value& a, const Value& b) {
  const auto left = a.integer();
  const auto right = b.integer();
  if (!left || !right) return order_of(a.number(), b.number());
  return *left < *right ? Order::Less : *left > *right ? Order::Greater : Order::Equal;
}

}  // namespace

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.work();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == Order::Equal;
  if (a.as_text() && b.as_text()) {
    if (a.as_text()->size() != b.as_text()->size()) return false;
    budget.read(a.as_text()->size());
    return *a.as_text() == *b.as_text();
  }
  if (a.as_sequence() && b.as_sequence()) return equal_sequences(*a.as_sequence(), *b.as_sequence(), budget);
  if (a.as_dict() && b.as_dict()) return equal_dicts(*a.as_dict(), *b.as_dict(), budget);
  return a.same_object(b);
}

Order compare(const Value& a, const Value& b, Budget& budget) {
  budget.work();
  if (a.is_undefined() || b.is_undefined()) throw Failure((a.is_undefined() ? a : b).undefined_reason());
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.as_text() && b.as_text()) {  // UTF-8 sorts as its code points do
    budget.read(std::min(a.as_text()->size(), b.as_text()->size()));
    const int order = a.as_text()->compare(*b.as_text());
    return order < 0 ? Order::Less : order > 0 ? Order::Greater : Order::Equal;
  }
  const Sequence* left = a.as_sequence();
  const Sequence* right = b.as_sequence();
  if (left && right && left->kind == right->kind && left->kind <= SequenceKind::Tuple) {
    const std::size_t common = std::min(left->items.size(), right->items.size());
    for (std::size_t i = 0; i < common; ++i) {
      if (!equal(left->items[i], right->items[i], budget)) return compare(left->items[i], right->items[i], budget);
    }
    return order_of(static_cast<double>(left->items.size()), static_cast<double>(right->items.size()));
  }
  throw Failure("no order between '" + std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (const std::string* text = container.as_text()) {
    if (item.is_undefined()) throw Failure(item.undefined_reason());
    if (!item.as_text()) {
      throw Failure("'in <string>' requires a string on its left, got '" + std::string(type_name(item)) + "'");
    }
    budget.search(text->size(), item.as_text()->size());
    return text->find(*item.as_text()) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) return dict->find(item, budget) != nullptr;
  const Values items = iterate(container, budget);
  return std::any_of(items.begin(), items.end(), [&](const Value& other) { return equal(other, item, budget); });
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.as_text() || value.as_sequence() || value.as_dict() || value.as_loop();
}

Values iterate(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (Sequence* sequence = value.as_sequence()) {
    budget.work(sequence->items.size());
    return sequence->kind == SequenceKind::Generator ? std::exchange(sequence->items, {}) : sequence->items;
  }
  Values items;
  if (const std::string* text = value.as_text()) {
    budget.work(text->size());
    for (std::size_t i = 0; i < text->size();) {
      const std::size_t end = next_character(*text, i);
      items.emplace_back(std::string_view(*text).substr(i, end - i));
      i = end;
    }
    return items;
  }
  if (const Dict* dict = value.as_dict()) {
    budget.work(dict->entries.size());
    for (const auto& entry : dict->entries) items.push_back(entry.first);
    return items;
  }
  throw Failure("'" + std::string(type_name(value)) + "' is not iterable");
}

std::optional<std::size_t> length(const Value& value, Budget& budget) {
  if (value.is_undefined()) return 0;
  if (const std::string* text = value.as_text()) {
    budget.read(text->size());
    return count_characters(*text);
  }
  if (const Dict* dict = value.as_dict()) return dict->entries.size();
  const Sequence* sequence = value.as_sequence();
  if (sequence && sequence->kind != SequenceKind::Generator) return sequence->items.size();
  return std::nullopt;
}

}  // namespace grpo::jinja
