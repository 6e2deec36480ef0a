// Methods of dicts, lists and loops, and the functions of the environment.
#include <algorithm>
#include <array>
#include <ctime>

#include "text/jinja_interpreter.h"

namespace grpo::jinja {

namespace {

template <class Names>
bool is_one_of(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 5> kDictMethods = {"items", "keys", "values", "get", "copy"};
constexpr std::array<std::string_view, 5> kDictChanges = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 2> kSequenceMethods = {"index", "count"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "clear", "pop",    "reverse",
                                                          "insert", "sort",  "extend", "remove"};
constexpr std::array<std::string_view, 2> kLoopMethods = {"cycle", "changed"};
constexpr std::array<std::string_view, 5> kFunctions = {"range", "namespace", "raise_exception", "strftime_now",
                                                        "dict"};

Value call_dict_method(const Dict& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  if (name == "get") {
    const auto given = bind("get", arguments, {"key", "default"}, 1);
    if (const Value* value = self.find(*given[0], budget)) return *value;
    return given[1] ? *given[1] : Value(None{});
  }
  bind(name, arguments, {}, 0);
  budget.work(self.entries.size());
  if (name == "copy") return Value::dict(self.entries);
  Values items;
  for (const auto& [key, value] : self.entries) {
    items.push_back(name == "items" ? Value::tuple({key, value}) : name == "keys" ? key : value);
  }
  return Value::sequence(SequenceKind::View, std::move(items), "dict_" + name);
}

Value call_sequence_method(const Sequence& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  const Value& wanted = *bind(name, arguments, {"value"}, 1)[0];
  std::int64_t count = 0;
  for (std::size_t i = 0; i < self.items.size(); ++i) {
    if (!equal(self.items[i], wanted, budget)) continue;
    if (name == "index") return Value(static_cast<std::int64_t>(i));
    ++count;
  }
  if (name == "index") throw Failure("index: the value is not in the list");
  return Value(count);
}

Value range_function(const Arguments& arguments, Budget& budget) {
  const auto given = bind("range", arguments, {"start", "stop", "step"}, 1);
  const std::int64_t first = expect_integer("range", given[0], 0);
  const std::int64_t start = given[1] ? first : 0;
  const std::int64_t stop = given[1] ? expect_integer("range", given[1], 0) : first;
  const std::int64_t step = expect_integer("range", given[2], 1);
  if (step == 0) throw Failure("range: the step cannot be 0");
  Values items;
  for (std::int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (items.size() >= 100'000) throw Failure("range: more than 100000 numbers");
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  budget.work(items.size());
  std::string label = "range(" + std::to_string(start) + ", " + std::to_string(stop);
  label += step == 1 ? ")" : ", " + std::to_string(step) + ")";
  return Value::sequence(SequenceKind::Range, std::move(items), std::move(label));
}

Value time_function(const Arguments& arguments, Budget& budget) {
  const std::string& format = expect_text("strftime_now", *bind("strftime_now", arguments, {"format"}, 1)[0]);
  if (format.size() > 1000) throw Failure("strftime_now: the format is longer than 1000 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  constexpr std::size_t kMaxBytes = 8192;
  budget.text(kMaxBytes);
  std::string out(kMaxBytes, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &local));
  return Value(std::move(out));
}

Value dict_function(const Arguments& arguments, Budget& budget) {
  std::vector<std::pair<Value, Value>> entries;
  const auto put = [&](const Value& key, const Value& value) {
    for (auto& entry : entries) {
      if (!equal(entry.first, key, budget)) continue;
      entry.second = value;
      return;
    }
    entries.emplace_back(key, value);
  };
  if (arguments.positional.size() > 1) throw Failure("dict takes at most 1 positional argument");
  for (const Value& source : arguments.positional) {
    if (const Dict* dict = source.as_dict()) {
      for (const auto& [key, value] : dict->entries) put(key, value);
      continue;
    }
    for (const Value& item : iterate(source, budget)) {
      const Values pair = iterate(item, budget);
      if (pair.size() != 2) throw Failure("dict expects pairs");
      put(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) put(Value(name), value);
  return Value::dict(std::move(entries));
}

}  // namespace

std::optional<Value> method_of(const Value& object, const std::string& name) {
  const bool is_list = object.as_sequence() && object.as_sequence()->kind == SequenceKind::List;
  const bool is_tuple = object.as_sequence() && object.as_sequence()->kind == SequenceKind::Tuple;
  const bool changes =
      (object.as_dict() && is_one_of(kDictChanges, name)) || (is_list && is_one_of(kListChanges, name));
  if (changes || name.rfind("__", 0) == 0) {
    if (object.as_dict() && !changes && object.as_dict()->find(name)) return std::nullopt;
    return Value::undefined("access to attribute '" + name + "' of '" + std::string(type_name(object)) +
                            "' object is unsafe");
  }
  const bool known = (object.as_text() && is_text_method(name)) ||
                     (object.as_dict() && is_one_of(kDictMethods, name)) ||
                     ((is_list || is_tuple) && is_one_of(kSequenceMethods, name)) ||
                     (object.as_loop() && is_one_of(kLoopMethods, name));
  if (!known) return std::nullopt;
  auto method = std::make_shared<Callable>();
  method->kind = Callable::Kind::Method;
  method->name = name;
  method->self = object;
  return Value(std::shared_ptr<const Callable>(std::move(method)));
}

Value call_method(const Callable& method, const Arguments& arguments, Interpreter& interpreter) {
  Budget& budget = interpreter.budget();
  if (const Dict* dict = method.self.as_dict()) return call_dict_method(*dict, method.name, arguments, budget);
  if (const Sequence* list = method.self.as_sequence())
    return call_sequence_method(*list, method.name, arguments, budget);
  return call_text_method(*method.self.as_text(), method.name, arguments, budget);
}

std::optional<Value> global_function(std::string_view name) {
  if (!is_one_of(kFunctions, name)) return std::nullopt;
  auto function = std::make_shared<Callable>();
  function->name = name;
  return Value(std::shared_ptr<const Callable>(std::move(function)));
}

Value call_function(const std::string& name, const Arguments& arguments, Interpreter& interpreter) {
  Budget& budget = interpreter.budget();
  if (name == "range") return range_function(arguments, budget);
  if (name == "namespace") return interpreter.make_namespace(arguments);
  if (name == "strftime_now") return time_function(arguments, budget);
  if (name == "dict") return dict_function(arguments, budget);
  throw Failure(to_text(*bind("raise_exception", arguments, {"message"}, 1)[0], budget));
}

}  // namespace grpo::jinja
