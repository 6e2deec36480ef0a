// Arithmetic, concatenation, indexing and slicing as Python does them, on 64-bit integers.
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace grpo::jinja {

namespace {

[[noreturn]] void out_of_range() { throw Failure("an integer beyond 64 bits"); }

[[noreturn]] void bad_operands(std::string_view symbol, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) throw Failure(value->undefined_reason());
  }
  throw Failure("'" + std::string(symbol) + "' does not take '" + std::string(type_name(left)) + "' and '" +
                std::string(type_name(right)) + "'");
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (a == INT64_MIN && b == -1) out_of_range();
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Value power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw Failure("0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  if (base == 0 || base == 1) return Value(exponent == 0 ? 1 : base);
  if (base == -1) return Value(exponent % 2 == 0 ? 1 : -1);
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) out_of_range();
  }
  return Value(result);
}

Value integer_operator(std::string_view symbol, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (symbol == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (symbol == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (symbol == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (symbol == "**") {
    return power(a, b);
  } else {
    if (b == 0) throw Failure("division by zero");
    if (symbol == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
    if (symbol == "//") return Value(floor_divide(a, b));
    return Value(b == -1 ? std::int64_t{0} : a - b * floor_divide(a, b));
  }
  if (overflow) out_of_range();
  return Value(result);
}

Value real_operator(std::string_view symbol, double a, double b) {
  if (symbol == "+") return Value(a + b);
  if (symbol == "-") return Value(a - b);
  if (symbol == "*") return Value(a * b);
  if (symbol == "**") {
    if (a == 0 && b < 0) throw Failure("0 cannot be raised to a negative power");
    if (a < 0 && std::isfinite(b) && b != std::floor(b)) throw Failure("a power that is a complex number");
    return Value(std::pow(a, b));
  }
  if (b == 0) throw Failure("division by zero");
  if (symbol == "/") return Value(a / b);
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0 && (b < 0) != (remainder < 0)) remainder += b, quotient -= 1;
  if (symbol == "%") return Value(remainder == 0 ? std::copysign(0.0, b) : remainder);
  const double whole = std::floor(quotient);
  return Value(quotient - whole > 0.5 ? whole + 1 : whole);
}

Value repeat(const Value& object, std::int64_t count, Budget& budget) {
  const std::size_t times = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (const std::string* text = object.as_text()) {
    if (times > 0 && text->size() > Budget::kMaxTextBytes / times) budget.text(Budget::kMaxTextBytes + 1);
    budget.text(text->size() * times);
    std::string out;
    out.reserve(text->size() * times);
    for (std::size_t i = 0; i < times && !text->empty(); ++i) out += *text;
    return Value(std::move(out));
  }
  const Sequence& sequence = *object.as_sequence();
  if (times > 0 && sequence.items.size() > Budget::kMaxWork / times) budget.work(Budget::kMaxWork + 1);
  budget.work(sequence.items.size() * times);
  Values items;
  items.reserve(sequence.items.size() * times);
  for (std::size_t i = 0; i < times && !sequence.items.empty(); ++i) {
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  }
  return Value::sequence(sequence.kind, std::move(items));
}

bool can_repeat(const Value& value) {
  return value.as_text() || (value.as_sequence() && value.as_sequence()->kind <= SequenceKind::Tuple);
}

std::optional<Value> join_like(const Value& left, const Value& right, Budget& budget) {
  if (left.as_text() && right.as_text()) {
    budget.text(left.as_text()->size() + right.as_text()->size());
    return Value(*left.as_text() + *right.as_text());
  }
  const Sequence* a = left.as_sequence();
  const Sequence* b = right.as_sequence();
  if (!a || !b || a->kind != b->kind || a->kind > SequenceKind::Tuple) return std::nullopt;
  budget.work(a->items.size() + b->items.size());
  Values items = a->items;
  items.insert(items.end(), b->items.begin(), b->items.end());
  return Value::sequence(a->kind, std::move(items));
}

// Python's slice.indices: start, stop and step within `size`.
struct Range {
  std::int64_t start, stop, step;
};
Range slice_range(const Value& start, const Value& stop, const Value& step, std::int64_t size) {
  const auto number = [](const Value& value, std::int64_t fallback) {
    if (value.is_none()) return fallback;
    if (const auto whole = value.integer()) return *whole;
    throw Failure("a slice's bound must be an integer or none, got " + std::string(type_name(value)));
  };
  const std::int64_t by = number(step, 1);
  if (by == 0) throw Failure("a slice's step cannot be 0");
  const std::int64_t lowest = by < 0 ? -1 : 0;
  const std::int64_t highest = by < 0 ? size - 1 : size;
  const auto clamp = [&](const Value& value, std::int64_t fallback) {
    std::int64_t at = number(value, fallback);
    if (value.is_none()) return fallback;
    if (at < 0) at = at < -size ? lowest : at + size;
    return at < lowest ? lowest : at > highest ? highest : at;
  };
  return {clamp(start, by < 0 ? highest : lowest), clamp(stop, by < 0 ? lowest : highest), by};
}

}  // namespace

Value unary_operator(std::string_view symbol, const Value& operand) {
  if (symbol == "not") return Value(!truthy(operand));
  if (operand.is_undefined()) throw Failure(operand.undefined_reason());
  if (const auto whole = operand.integer()) {
    if (symbol == "-" && *whole == INT64_MIN) out_of_range();
    return Value(symbol == "-" ? -*whole : *whole);
  }
  if (const double* real = operand.as_float()) return Value(symbol == "-" ? -*real : *real);
  throw Failure("'" + std::string(symbol) + "' does not take '" + std::string(type_name(operand)) + "'");
}

Value binary_operator(std::string_view symbol, const Value& left, const Value& right, Budget& budget) {
  if (left.is_number() && right.is_number()) {
    const auto a = left.integer();
    const auto b = right.integer();
    return a && b ? integer_operator(symbol, *a, *b) : real_operator(symbol, left.number(), right.number());
  }
  if (symbol == "+") {
    if (std::optional<Value> joined = join_like(left, right, budget)) return *std::move(joined);
  } else if (symbol == "*") {
    if (can_repeat(left) && right.integer()) return repeat(left, *right.integer(), budget);
    if (can_repeat(right) && left.integer()) return repeat(right, *left.integer(), budget);
  } else if (symbol == "%" && left.as_text()) {
    throw Failure("formatting text with '%' is not supported");
  }
  bad_operands(symbol, left, right);
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  if (object.is_undefined()) throw Failure(object.undefined_reason());
  const Sequence* sequence = object.as_sequence();
  const bool sliceable = object.as_text() || (sequence && sequence->kind <= SequenceKind::Range);
  if (!sliceable) throw Failure("'" + std::string(type_name(object)) + "' cannot be sliced");
  const Values characters = object.as_text() ? iterate(object, budget) : Values();
  const Values& items = object.as_text() ? characters : sequence->items;
  const Range range = slice_range(start, stop, step, static_cast<std::int64_t>(items.size()));
  Values picked;
  std::int64_t at = range.start;
  while (range.step > 0 ? at < range.stop : at > range.stop) {
    picked.push_back(items[static_cast<std::size_t>(at)]);
    if (__builtin_add_overflow(at, range.step, &at)) break;
  }
  budget.work(picked.size());
  if (!object.as_text()) {
    const SequenceKind kind = sequence->kind == SequenceKind::Tuple ? SequenceKind::Tuple : SequenceKind::List;
    return Value::sequence(kind, std::move(picked));
  }
  std::string text;
  for (const Value& character : picked) text += *character.as_text();
  return Value(std::move(text));
}

Value plain_item(const Value& object, const Value& index, Budget& budget) {
  if (const Dict* dict = object.as_dict()) {
    if (const Value* value = dict->find(index, budget)) return *value;
  } else if (auto at = index.integer()) {
    const std::optional<std::size_t> size = length(object, budget);
    const bool indexable =
        object.as_text() || (object.as_sequence() && object.as_sequence()->kind <= SequenceKind::Range);
    if (indexable && *at < 0) *at += static_cast<std::int64_t>(*size);
    if (indexable && *at >= 0 && static_cast<std::size_t>(*at) < *size) {
      const auto position = static_cast<std::size_t>(*at);
      if (!object.as_text()) return object.as_sequence()->items[position];
      const std::string& text = *object.as_text();
      budget.work(text.size() / 8);
      const std::size_t begin = character_offset(text, position);
      return Value(text.substr(begin, next_character(text, begin) - begin));
    }
  }
  return Value::undefined(fmt::format("'{} object' has no element {}", type_name(object), repr(index, budget)));
}

}  // namespace grpo::jinja
