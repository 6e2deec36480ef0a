// Filters on lists, dicts and other sequences. What is lazy in Jinja is a generator here too, made at once.
#include <algorithm>
#include <map>

#include "text/jinja_filters.h"
#include "text/jinja_text.h"

namespace grpo::jinja {

namespace {

Value generator(Values items) { return Value::sequence(SequenceKind::Generator, std::move(items)); }

// "user.name" or "pair.0" as a path of names and indices.
Values attribute_path(const Value& attribute) {
  const std::string* text = attribute.as_text();
  if (!text) return {attribute};
  Values path;
  for (std::size_t begin = 0; begin <= text->size();) {
    const std::size_t end = std::min(text->find('.', begin), text->size());
    const std::string part = text->substr(begin, end - begin);
    const bool is_index = !part.empty() && part.size() < 10 &&
                          std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    path.push_back(is_index ? Value(std::stoi(part)) : Value(part));
    begin = end + 1;
  }
  return path;
}

Value follow(Interpreter& interpreter, Value object, const Values& path, const Value* fallback = nullptr) {
  for (const Value& part : path) {
    object = interpreter.item(object, part);
    if (object.is_undefined() && fallback && !fallback->is_none()) object = *fallback;
  }
  return object;
}

Value without_case(const Value& value, Budget& budget) {
  if (!value.as_text()) return value;
  budget.map_case(value.as_text()->size());
  return Value(lower(*value.as_text()));
}

Value count(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("length", arguments, {}, 0);
  const std::optional<std::size_t> size = length(input, interpreter.budget());
  if (!size) throw Failure("'" + std::string(type_name(input)) + "' has no length");
  return Value(static_cast<std::int64_t>(*size));
}

Value list(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("list", arguments, {}, 0);
  return Value::list(iterate(input, interpreter.budget()));
}

Value first(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("first", arguments, {}, 0);
  Sequence* sequence = input.as_sequence();
  if (sequence && sequence->kind == SequenceKind::Generator && !sequence->items.empty()) {
    Value item = sequence->items.front();
    interpreter.budget().work(sequence->items.size());
    sequence->items.erase(sequence->items.begin());
    return item;
  }
  const Values items = iterate(input, interpreter.budget());
  return items.empty() ? Value::undefined("no first item, the sequence was empty") : items.front();
}

Value last(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("last", arguments, {}, 0);
  const Sequence* sequence = input.as_sequence();
  if (sequence && sequence->kind == SequenceKind::Generator) throw Failure("'generator' is not reversible");
  const Values items = iterate(input, interpreter.budget());
  return items.empty() ? Value::undefined("no last item, the sequence was empty") : items.back();
}

Value reverse(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("reverse", arguments, {}, 0);
  Values items = iterate(input, interpreter.budget());
  std::reverse(items.begin(), items.end());
  if (!input.as_text()) return generator(std::move(items));
  std::string text;
  for (const Value& item : items) text += *item.as_text();
  return Value(std::move(text));
}

Value join(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("join", arguments, {"d", "attribute"}, 0);
  Budget& budget = interpreter.budget();
  const std::string separator = given[0] ? to_text(*given[0], budget) : "";
  const Values path = given[1] && !given[1]->is_none() ? attribute_path(*given[1]) : Values();
  std::string out;
  bool is_first = true;
  for (const Value& item : iterate(input, budget)) {
    const std::string piece = to_text(follow(interpreter, item, path), budget);
    budget.grow(out.size(), separator.size() + piece.size());
    if (!std::exchange(is_first, false)) out += separator;
    out += piece;
  }
  return Value(std::move(out));
}

Value items(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("items", arguments, {}, 0);
  Values pairs;
  if (!input.is_undefined()) {
    const Dict* dict = input.as_dict();
    if (!dict) throw Failure("items expects a dict, got " + std::string(type_name(input)));
    interpreter.budget().work(dict->entries.size());
    for (const auto& [key, value] : dict->entries) pairs.push_back(Value::tuple({key, value}));
  }
  return generator(std::move(pairs));
}

// Sorts by keys that were computed once; equal ones keep their order, also when reversed.
Values sorted(Values values, const Values& keys, bool reversed, Budget& budget) {
  std::vector<std::size_t> order(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return compare(keys[a], keys[b], budget) == (reversed ? Order::Greater : Order::Less);
  });
  Values out;
  for (const std::size_t i : order) out.push_back(values[i]);
  return out;
}

Value sort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
  const bool by_case = given[1] && truthy(*given[1]);
  std::vector<Values> paths;
  if (given[2] && given[2]->as_text()) {
    const Value names = call_text_method(*given[2]->as_text(), "split", {{Value(",")}, {}}, interpreter.budget());
    for (const Value& name : names.as_sequence()->items) paths.push_back(attribute_path(name));
  } else {
    paths.push_back(given[2] && !given[2]->is_none() ? attribute_path(*given[2]) : Values());
  }
  Values values = iterate(input, interpreter.budget());
  Values keys;
  for (const Value& value : values) {
    Values key;
    for (const Values& path : paths) {
      const Value part = follow(interpreter, value, path);
      key.push_back(by_case ? part : without_case(part, interpreter.budget()));
    }
    keys.push_back(Value::list(std::move(key)));
  }
  return Value::list(sorted(std::move(values), keys, given[0] && truthy(*given[0]), interpreter.budget()));
}

Value dict_sort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
  const std::string by = given[1] ? expect_text("dictsort", *given[1]) : "key";
  if (by != "key" && by != "value") throw Failure("dictsort: by must be key or value, got '" + by + "'");
  const bool by_case = given[0] && truthy(*given[0]);
  const Dict* dict = input.as_dict();
  if (!dict) throw Failure("dictsort expects a dict, got " + std::string(type_name(input)));
  Values pairs;
  Values keys;
  for (const auto& [key, value] : dict->entries) {
    const Value& part = by == "key" ? key : value;
    pairs.push_back(Value::tuple({key, value}));
    keys.push_back(by_case ? part : without_case(part, interpreter.budget()));
  }
  return Value::list(sorted(std::move(pairs), keys, given[2] && truthy(*given[2]), interpreter.budget()));
}

Value unique(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("unique", arguments, {"case_sensitive", "attribute"}, 0);
  const bool by_case = given[0] && truthy(*given[0]);
  const Values path = given[1] && !given[1]->is_none() ? attribute_path(*given[1]) : Values();
  Budget& budget = interpreter.budget();
  Values seen;
  Values kept;
  for (const Value& item : iterate(input, budget)) {
    const Value part = follow(interpreter, item, path);
    Value key = by_case ? part : without_case(part, interpreter.budget());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key, budget); })) continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return generator(std::move(kept));
}

template <bool largest>
Value extreme(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"}, 0);
  const bool by_case = given[0] && truthy(*given[0]);
  const Values path = given[1] && !given[1]->is_none() ? attribute_path(*given[1]) : Values();
  const Values values = iterate(input, interpreter.budget());
  if (values.empty()) return Value::undefined("no aggregated item, the sequence was empty");
  const auto key_of = [&](const Value& value) {
    const Value part = follow(interpreter, value, path);
    return by_case ? part : without_case(part, interpreter.budget());
  };
  std::size_t best = 0;
  Value best_key = key_of(values[0]);
  for (std::size_t i = 1; i < values.size(); ++i) {
    Value key = key_of(values[i]);
    if (compare(key, best_key, interpreter.budget()) != (largest ? Order::Greater : Order::Less)) continue;
    best = i;
    best_key = std::move(key);
  }
  return values[best];
}

Value sum(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("sum", arguments, {"attribute", "start"}, 0);
  const Values path = given[0] && !given[0]->is_none() ? attribute_path(*given[0]) : Values();
  Value total = given[1] ? *given[1] : Value(0);
  for (const Value& item : iterate(input, interpreter.budget())) {
    total = binary_operator("+", total, follow(interpreter, item, path), interpreter.budget());
  }
  return total;
}

Value attr(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const std::string& name = expect_text("attr", *bind("attr", arguments, {"name"}, 1)[0]);
  // Unlike `object.name`, never a dict's entry.
  const bool is_entry = input.as_dict() && !method_of(input, name);
  return is_entry ? Value::undefined("'dict object' has no attribute '" + name + "'")
                  : interpreter.attribute(input, name);
}

Value map(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  Values mapped;
  if (!truthy(input)) return generator({});
  if (arguments.positional.empty()) {
    const auto given = bind("map", arguments, {"attribute", "default"}, 1);
    const Values path = attribute_path(*given[0]);
    for (const Value& item : iterate(input, interpreter.budget())) {
      mapped.push_back(follow(interpreter, item, path, given[1]));
    }
    return generator(std::move(mapped));
  }
  const std::string& name = expect_text("map", arguments.positional[0]);
  const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  for (const Value& item : iterate(input, interpreter.budget())) mapped.push_back(interpreter.filter(name, item, rest));
  return generator(std::move(mapped));
}

// select(test, ...) and selectattr(attribute, test, ...); without a test the truth decides.
template <bool keeps, bool by_attribute>
Value select(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  Values kept;
  if (!truthy(input)) return generator({});
  const std::size_t at = by_attribute ? 1 : 0;
  if (arguments.positional.size() < at) throw Failure("selectattr and rejectattr need an attribute's name");
  const Values path = by_attribute ? attribute_path(arguments.positional[0]) : Values();
  const bool has_test = arguments.positional.size() > at;
  const std::string name = has_test ? expect_text("select", arguments.positional[at]) : "";
  const auto begin = arguments.positional.begin() + static_cast<std::ptrdiff_t>(at + (has_test ? 1 : 0));
  const Arguments rest{{begin, arguments.positional.end()}, arguments.named};
  for (const Value& item : iterate(input, interpreter.budget())) {
    const Value part = follow(interpreter, item, path);
    const bool holds = has_test ? interpreter.test(name, part, rest) : truthy(part);
    if (holds == keeps) kept.push_back(item);
  }
  return generator(std::move(kept));
}

}  // namespace

FilterFunction find_sequence_filter(std::string_view name) {
  static const std::map<std::string_view, FilterFunction> table = {
      {"length", count},
      {"count", count},
      {"list", list},
      {"first", first},
      {"last", last},
      {"reverse", reverse},
      {"join", join},
      {"items", items},
      {"sort", sort},
      {"dictsort", dict_sort},
      {"unique", unique},
      {"min", extreme<false>},
      {"max", extreme<true>},
      {"sum", sum},
      {"attr", attr},
      {"map", map},
      {"select", select<true, false>},
      {"reject", select<false, false>},
      {"selectattr", select<true, true>},
      {"rejectattr", select<false, true>},
  };
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace grpo::jinja
