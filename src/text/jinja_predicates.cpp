// Tests: what stands after `is`.
#include <map>

#include "text/jinja_filters.h"
#include "text/jinja_text.h"

namespace grpo::jinja {

namespace {

template <bool (*holds)(const Value&)>
bool plain(Interpreter&, const Value& input, const Arguments& arguments) {
  bind("the test", arguments, {}, 0);
  return holds(input);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.as_bool() != nullptr; }
bool is_true(const Value& value) { return value.as_bool() && *value.as_bool(); }
bool is_false(const Value& value) { return value.as_bool() && !*value.as_bool(); }
bool is_integer(const Value& value) { return value.as_int() != nullptr; }
bool is_float(const Value& value) { return value.as_float() != nullptr; }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.as_text() != nullptr; }
bool is_mapping(const Value& value) { return value.as_dict() != nullptr; }
bool is_callable(const Value& value) { return value.as_callable() || value.is_undefined() || value.as_loop(); }
bool is_sequence(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  return value.is_undefined() || value.as_text() || value.as_dict() ||
         (sequence && sequence->kind <= SequenceKind::Range);
}

template <bool want_upper>
bool has_case(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("the test", arguments, {}, 0);
  const std::string text = to_text(input, interpreter.budget());
  interpreter.budget().map_case(2 * text.size());
  return want_upper ? upper(text) == text && lower(text) != text : lower(text) == text && upper(text) != text;
}

bool has_remainder(Interpreter& interpreter, const Value& input, std::int64_t divisor, std::int64_t remainder) {
  const Value value = binary_operator("%", input, Value(divisor), interpreter.budget());
  return equal(value, Value(remainder), interpreter.budget());
}

template <std::int64_t remainder>
bool is_parity(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("the test", arguments, {}, 0);
  return has_remainder(interpreter, input, 2, remainder);
}

bool is_divisible(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const auto given = bind("divisibleby", arguments, {"num"}, 1);
  return has_remainder(interpreter, input, expect_integer("divisibleby", given[0], 1), 0);
}

bool is_same(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const Value& other = *bind("sameas", arguments, {"other"}, 1)[0];
  if (input.as_text() && other.as_text()) return equal(input, other, interpreter.budget());
  return input.same_object(other);
}

bool is_in(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return contains(*bind("in", arguments, {"seq"}, 1)[0], input, interpreter.budget());
}

template <bool wanted>
bool is_equal(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return equal(input, *bind("eq", arguments, {"other"}, 1)[0], interpreter.budget()) == wanted;
}

template <Order wanted, bool or_equal>
bool is_ordered(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const Order order = compare(input, *bind("the test", arguments, {"other"}, 1)[0], interpreter.budget());
  return order == wanted || (or_equal && order == Order::Equal);
}

bool is_filter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("the test", arguments, {}, 0);
  return find_filter(to_text(input, interpreter.budget())) != nullptr;
}

bool is_test(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  bind("the test", arguments, {}, 0);
  return find_test(to_text(input, interpreter.budget())) != nullptr;
}

}  // namespace

TestFunction find_test(std::string_view name) {
  static const std::map<std::string_view, TestFunction> table = {
      {"defined", plain<is_defined>},
      {"undefined", plain<is_undefined>},
      {"none", plain<is_none>},
      {"boolean", plain<is_boolean>},
      {"true", plain<is_true>},
      {"false", plain<is_false>},
      {"integer", plain<is_integer>},
      {"float", plain<is_float>},
      {"number", plain<is_number>},
      {"string", plain<is_string>},
      {"mapping", plain<is_mapping>},
      {"iterable", plain<is_iterable>},
      {"sequence", plain<is_sequence>},
      {"callable", plain<is_callable>},
      {"upper", has_case<true>},
      {"lower", has_case<false>},
      {"odd", is_parity<1>},
      {"even", is_parity<0>},
      {"divisibleby", is_divisible},
      {"sameas", is_same},
      {"in", is_in},
      {"filter", is_filter},
      {"test", is_test},
      {"eq", is_equal<true>},
      {"equalto", is_equal<true>},
      {"==", is_equal<true>},
      {"ne", is_equal<false>},
      {"!=", is_equal<false>},
      {"lt", is_ordered<Order::Less, false>},
      {"lessthan", is_ordered<Order::Less, false>},
      {"<", is_ordered<Order::Less, false>},
      {"le", is_ordered<Order::Less, true>},
      {"<=", is_ordered<Order::Less, true>},
      {"gt", is_ordered<Order::Greater, false>},
      {"greaterthan", is_ordered<Order::Greater, false>},
      {">", is_ordered<Order::Greater, false>},
      {"ge", is_ordered<Order::Greater, true>},
      {">=", is_ordered<Order::Greater, true>},
  };
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace grpo::jinja
