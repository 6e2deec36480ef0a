// Expressions of a chat template, and the `loop` variable.
#include <algorithm>

#include <fmt/format.h>

#include "text/jinja_filters.h"
#include "text/jinja_interpreter.h"

namespace grpo::jinja {

namespace {

Value no_attribute(const Value& object, const std::string& name) {
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", type_name(object), name));
}

}  // namespace

Value Interpreter::lookup(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    if (const auto found = scope->variables.find(name); found != scope->variables.end()) return found->second;
  }
  if (std::optional<Value> function = global_function(name)) return *std::move(function);
  return Value::undefined("'" + name + "' is undefined");
}

Value Interpreter::evaluate(const Expression& expression) {
  budget_.work();
  if (depth_ >= 400) throw Failure("the template recurses too deep");
  ++depth_;
  struct Leave {
    int& depth;
    ~Leave() { --depth; }
  } const leave{depth_};
  switch (expression.kind) {
    case ExpressionKind::Constant:
      return expression.constant;
    case ExpressionKind::Name:
      return lookup(expression.name);
    case ExpressionKind::List:
      return Value::list(evaluate_all(expression.parts));
    case ExpressionKind::Tuple:
      return Value::tuple(evaluate_all(expression.parts));
    case ExpressionKind::Dict:
      return evaluate_dict(expression);
    case ExpressionKind::Unary:
      return unary_operator(expression.name, evaluate(*expression.parts[0]));
    case ExpressionKind::Binary: {
      const Value left = evaluate(*expression.parts[0]);
      return binary_operator(expression.name, left, evaluate(*expression.parts[1]), budget_);
    }
    case ExpressionKind::Compare:
      return evaluate_compare(expression);
    case ExpressionKind::And:
    case ExpressionKind::Or: {
      Value value;
      for (const Expression* part : expression.parts) {
        value = evaluate(*part);
        if (truthy(value) == (expression.kind == ExpressionKind::Or)) break;
      }
      return value;
    }
    case ExpressionKind::Concat:
      return evaluate_concat(expression);
    case ExpressionKind::Conditional:
      if (truthy(evaluate(*expression.parts[0]))) return evaluate(*expression.parts[1]);
      if (expression.parts[2]) return evaluate(*expression.parts[2]);
      return Value::undefined("the inline if-expression was false and has no else");
    case ExpressionKind::Attribute:
      return attribute(evaluate(*expression.parts[0]), expression.name);
    case ExpressionKind::Item:
      return evaluate_item(expression);
    case ExpressionKind::Slice:
      throw Failure("a slice stands only in [ ]");
    case ExpressionKind::Call: {
      const Value callee = evaluate(*expression.parts[0]);
      const Arguments arguments = evaluate_arguments(expression.arguments);
      line_ = expression.line;
      return call(callee, arguments);
    }
    case ExpressionKind::Filter:
      return evaluate_filter(expression, nullptr);
    case ExpressionKind::Test: {
      const Value input = evaluate(*expression.parts[0]);
      return Value(test(expression.name, input, evaluate_arguments(expression.arguments)));
    }
  }
  throw Failure("an expression of no known kind");
}

Values Interpreter::evaluate_all(const std::vector<const Expression*>& parts) {
  Values values;
  values.reserve(parts.size());
  for (const Expression* part : parts) values.push_back(evaluate(*part));
  return values;
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments) {
  Arguments evaluated;
  evaluated.positional = evaluate_all(arguments.positional);
  if (arguments.star) {
    const Values extra = iterate(evaluate(*arguments.star), budget_);
    evaluated.positional.insert(evaluated.positional.end(), extra.begin(), extra.end());
  }
  for (const auto& [name, value] : arguments.named) evaluated.named.emplace_back(name, evaluate(*value));
  if (arguments.double_star) {
    const Value extra = evaluate(*arguments.double_star);
    const Dict* dict = extra.as_dict();
    if (!dict) throw Failure("** expects a dict, got " + std::string(type_name(extra)));
    for (const auto& [name, value] : dict->entries) evaluated.named.emplace_back(to_text(name, budget_), value);
  }
  return evaluated;
}

Value Interpreter::evaluate_dict(const Expression& expression) {
  std::vector<std::pair<Value, Value>> entries;
  for (std::size_t i = 0; i + 1 < expression.parts.size(); i += 2) {
    Value key = evaluate(*expression.parts[i]);
    Value value = evaluate(*expression.parts[i + 1]);
    if ((key.as_sequence() && key.as_sequence()->kind == SequenceKind::List) || key.as_dict()) {
      throw Failure("a dict's key cannot be a " + std::string(type_name(key)));
    }
    const auto same = std::find_if(entries.begin(), entries.end(),
                                   [&](const auto& entry) { return equal(entry.first, key, budget_); });
    if (same != entries.end()) {
      same->second = std::move(value);
    } else {
      entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return Value::dict(std::move(entries));
}

Value Interpreter::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.parts[0]);
  for (std::size_t i = 0; i < expression.names.size(); ++i) {
    const std::string& symbol = expression.names[i];
    Value right = evaluate(*expression.parts[i + 1]);
    bool holds = false;
    if (symbol == "==" || symbol == "!=") {
      holds = equal(left, right, budget_) == (symbol == "==");
    } else if (symbol == "in" || symbol == "not in") {
      holds = contains(right, left, budget_) == (symbol == "in");
    } else {
      const Order order = compare(left, right, budget_);
      holds = (symbol[0] == '<' && order == Order::Less) || (symbol[0] == '>' && order == Order::Greater) ||
              (symbol.size() == 2 && order == Order::Equal);
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::evaluate_concat(const Expression& expression) {
  std::string text;
  for (const Expression* part : expression.parts) {
    const std::string piece = to_text(evaluate(*part), budget_);
    budget_.grow(text.size(), piece.size());
    text += piece;
  }
  return Value(std::move(text));
}

Value Interpreter::evaluate_item(const Expression& expression) {
  const Value object = evaluate(*expression.parts[0]);
  const Expression& index = *expression.parts[1];
  if (index.kind != ExpressionKind::Slice) return item(object, evaluate(index));
  const auto bound = [&](std::size_t i) { return index.parts[i] ? evaluate(*index.parts[i]) : Value(None{}); };
  const Value start = bound(0);
  const Value stop = bound(1);
  return slice(object, start, stop, bound(2), budget_);
}

Value Interpreter::evaluate_filter(const Expression& expression, const Value* block_text) {
  const Expression* first = expression.parts[0];
  // In `set` and `filter` blocks the innermost filter of a chain takes the block's text.
  const Value input = !first                                                ? *block_text
                      : block_text && first->kind == ExpressionKind::Filter ? evaluate_filter(*first, block_text)
                                                                            : evaluate(*first);
  const Arguments arguments = evaluate_arguments(expression.arguments);
  line_ = expression.line;
  return filter(expression.name, input, arguments);
}

Value Interpreter::filter(std::string_view name, const Value& input, const Arguments& arguments) {
  const FilterFunction function = find_filter(name);
  if (!function) throw Failure("no filter named '" + std::string(name) + "'");
  budget_.work();
  return function(*this, input, arguments);
}

bool Interpreter::test(std::string_view name, const Value& input, const Arguments& arguments) {
  const TestFunction function = find_test(name);
  if (!function) throw Failure("no test named '" + std::string(name) + "'");
  budget_.work();
  return function(*this, input, arguments);
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) throw Failure(object.undefined_reason());
  if (std::optional<Value> method = method_of(object, name)) return *std::move(method);
  if (const Dict* dict = object.as_dict()) {
    budget_.work(dict->entries.size() / 8);
    if (const Value* value = dict->find(name)) return *value;
  } else if (const auto* space = object.as_namespace()) {
    budget_.work((*space)->entries.size() / 8);
    if (const Value* value = (*space)->find(name)) return *value;
  } else if (Loop* loop = object.as_loop()) {
    return loop_attribute(*loop, name);
  }
  return no_attribute(object, name);
}

Value Interpreter::item(const Value& object, const Value& index) {
  if (object.is_undefined()) throw Failure(object.undefined_reason());
  Value found = plain_item(object, index, budget_);
  if (!found.is_undefined() || !index.as_text()) return found;
  // `object["name"]` may also name an attribute; a dict's own undefined value stays.
  if (object.as_dict() && object.as_dict()->find(*index.as_text())) return found;
  return attribute(object, *index.as_text());
}

Value Interpreter::loop_attribute(Loop& loop, const std::string& name) {
  if (name == "index0") return Value(loop.index0);
  if (name == "index") return Value(loop.index0 + 1);
  if (name == "first") return Value(loop.index0 == 0);
  if (name == "depth") return Value(1);
  if (name == "depth0") return Value(0);
  if (name == "previtem") return loop.index0 == 0 ? Value::undefined("there is no previous item") : loop.previous;
  if (name == "last" || name == "nextitem") {
    if (!loop.ahead) loop.ahead = pull(loop);
    if (name == "last") return Value(!loop.ahead.has_value());
    return loop.ahead ? *loop.ahead : Value::undefined("there is no next item");
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    if (!loop.known_length && !loop.filtered) loop.known_length = loop.items.size();
    if (!loop.known_length) {  // pull the rest, which passed the filter, to count it
      Values rest;
      while (std::optional<Value> value = pull(loop)) rest.push_back(*std::move(value));
      loop.known_length = rest.size() + static_cast<std::size_t>(loop.index0 + 1);
      loop.items = std::move(rest);
      loop.next = 0;
      loop.filtered = false;
    }
    const auto size = static_cast<std::int64_t>(*loop.known_length);
    return Value(name == "length" ? size : name == "revindex" ? size - loop.index0 : size - loop.index0 - 1);
  }
  return Value::undefined("'loop' has no attribute '" + name + "'");
}

Value Interpreter::call_loop_method(Loop& loop, const std::string& name, const Arguments& arguments) {
  if (!arguments.named.empty()) throw Failure("loop." + name + " takes no named arguments");
  const Values& values = arguments.positional;
  if (name == "cycle") {
    if (values.empty()) throw Failure("loop.cycle needs an argument");
    return values[static_cast<std::size_t>(std::max<std::int64_t>(loop.index0, 0)) % values.size()];
  }
  if (!loop.last_changed) changed_loops_.push_back(loop.shared_from_this());
  const bool same = loop.last_changed && equal(Value::tuple(*loop.last_changed), Value::tuple(values), budget_);
  loop.last_changed = values;
  return Value(!same);
}

}  // namespace grpo::jinja
