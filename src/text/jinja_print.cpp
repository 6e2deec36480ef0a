// str(), repr() and json.dumps of template values, as Python writes them.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/utf8.h"
#include "text/jinja_text.h"
#include "text/jinja_value.h"

namespace grpo::jinja {

namespace {

void append_hex(std::string& out, std::string_view prefix, std::uint32_t code, int digits) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "%0*x", digits, static_cast<unsigned>(code));
  out.append(prefix).append(buffer);
}

// Single quotes, unless the text has them and no double ones.
std::string quoted(std::string_view text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = next_character(text, i);
    const std::uint32_t code = character_at(text, i);
    switch (code) {
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\\':
        out += "\\\\";
        break;
      default:
        if (code == static_cast<unsigned char>(quote)) {
          out += '\\', out += quote;
        } else if (is_printable(code)) {
          out.append(text.substr(i, end - i));
        } else if (code < 0x100) {
          append_hex(out, "\\x", code, 2);
        } else if (code < 0x10000) {
          append_hex(out, "\\u", code, 4);
        } else {
          append_hex(out, "\\U", code, 8);
        }
    }
    i = end;
  }
  return out += quote;
}

class Printer {
 public:
  explicit Printer(Budget& budget) : budget_(budget) {}

  std::string take() { return std::move(out_); }

  void print(const Value& value) {
    // Containers cannot nest deeper, but namespaces can hold each other.
    if (++depth_ > 2 * kMaxValueDepth) throw Failure("a value that holds itself cannot be printed");
    budget_.work();
    if (const std::string* text = value.as_text()) {
      budget_.text(text->size());
      put(quoted(*text));
    } else if (const Sequence* sequence = value.as_sequence()) {
      print_sequence(*sequence);
    } else if (const Dict* dict = value.as_dict()) {
      print_dict(*dict);
    } else if (const auto* space = value.as_namespace()) {
      print_namespace(**space);
    } else if (value.is_undefined()) {
      put("Undefined");
    } else if (const Callable* callable = value.as_callable()) {
      put(callable->kind == Callable::Kind::Macro ? "<Macro '" + callable->name + "'>"
                                                  : "<function " + callable->name + ">");
    } else if (value.as_loop()) {
      put("<LoopContext>");
    } else {
      put(to_text(value, budget_));
    }
    --depth_;
  }

 private:
  void put(std::string_view text) {
    budget_.grow(out_.size(), text.size());
    out_ += text;
  }

  void print_items(const Values& items) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) put(", ");
      print(items[i]);
    }
  }

  void print_sequence(const Sequence& sequence) {
    switch (sequence.kind) {
      case SequenceKind::List:
        put("["), print_items(sequence.items), put("]");
        break;
      case SequenceKind::Tuple:
        put("("), print_items(sequence.items), put(sequence.items.size() == 1 ? ",)" : ")");
        break;
      case SequenceKind::Range:
        put(sequence.label);
        break;
      case SequenceKind::View:
        put(sequence.label), put("(["), print_items(sequence.items), put("])");
        break;
      case SequenceKind::Generator:
        put("<generator object>");
        break;
    }
  }

  void print_dict(const Dict& dict) {
    put("{");
    for (std::size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) put(", ");
      print(dict.entries[i].first), put(": "), print(dict.entries[i].second);
    }
    put("}");
  }

  void print_namespace(const Namespace& space) {
    put("<Namespace {");
    for (std::size_t i = 0; i < space.entries.size(); ++i) {
      if (i > 0) put(", ");
      put(quoted(space.entries[i].first)), put(": "), print(space.entries[i].second);
    }
    put("}>");
  }

  Budget& budget_;
  std::string out_;
  int depth_ = 0;
};

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view shortest(buffer, static_cast<std::size_t>(scientific.ptr - buffer));
  int exponent = 0;
  const std::size_t mark = shortest.find('e');
  const char* digits = shortest.data() + mark + 1 + (shortest[mark + 1] == '+' ? 1 : 0);
  std::from_chars(digits, shortest.data() + shortest.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string to_text(const Value& value, Budget& budget) {
  if (const std::string* text = value.as_text()) {
    budget.text(text->size());
    return *text;
  }
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (const bool* flag = value.as_bool()) return *flag ? "True" : "False";
  if (const std::int64_t* whole = value.as_int()) return std::to_string(*whole);
  if (const double* real = value.as_float()) return float_text(*real);
  return repr(value, budget);
}

std::string repr(const Value& value, Budget& budget) {
  Printer printer(budget);
  printer.print(value);
  return printer.take();
}

namespace {

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  std::string take() { return std::move(out_); }

  void write(const Value& value) {
    budget_.work();
    if (const std::string* text = value.as_text()) {
      write_string(*text);
    } else if (value.is_none()) {
      put("null");
    } else if (const bool* flag = value.as_bool()) {
      put(*flag ? "true" : "false");
    } else if (const std::int64_t* whole = value.as_int()) {
      put(std::to_string(*whole));
    } else if (const double* real = value.as_float()) {
      put(float_json(*real));
    } else if (const Dict* dict = value.as_dict()) {
      write_dict(*dict);
    } else if (const Sequence* sequence = value.as_sequence(); sequence && sequence->kind <= SequenceKind::Tuple) {
      write_list(*sequence);
    } else {
      throw Failure("tojson: a value of type " + std::string(type_name(value)) + " is not JSON" +
                    (value.is_undefined() ? " (" + value.undefined_reason() + ")" : ""));
    }
  }

 private:
  void put(std::string_view text) {
    budget_.grow(out_.size(), text.size());
    out_ += text;
  }

  static std::string float_json(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_text(value);
  }

  void new_line() {
    if (!style_.pretty) return;
    put("\n");
    for (int i = 0; i < level_; ++i) put(style_.indent);
  }

  void write_string(std::string_view text) {
    std::string quoted = "\"";
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t end = next_character(text, i);
      append_escaped(quoted, text.substr(i, end - i), character_at(text, i));
      i = end;
    }
    put(quoted += '"');
  }

  void append_escaped(std::string& out, std::string_view bytes, std::uint32_t code) const {
    switch (code) {
      case '"':
        out += "\\\"";
        return;
      case '\\':
        out += "\\\\";
        return;
      case '\n':
        out += "\\n";
        return;
      case '\r':
        out += "\\r";
        return;
      case '\t':
        out += "\\t";
        return;
      case '\f':
        out += "\\f";
        return;
      case '\b':
        out += "\\b";
        return;
      default:
        break;
    }
    if (code >= 0x20 && (!style_.ensure_ascii || code < 0x7F)) {
      out.append(bytes);
    } else if (code < 0x10000) {
      append_hex(out, "\\u", code, 4);
    } else {
      append_hex(out, "\\u", 0xD800 + ((code - 0x10000) >> 10), 4);
      append_hex(out, "\\u", 0xDC00 + ((code - 0x10000) & 0x3FF), 4);
    }
  }

  void write_list(const Sequence& list) {
    if (list.items.empty()) return put("[]");
    put("["), ++level_;
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      new_line();
      write(list.items[i]);
    }
    --level_, new_line(), put("]");
  }

  static std::string key_text(const Value& key) {
    if (const std::string* text = key.as_text()) return *text;
    if (key.is_none()) return "null";
    if (const bool* flag = key.as_bool()) return *flag ? "true" : "false";
    if (const std::int64_t* whole = key.as_int()) return std::to_string(*whole);
    if (const double* real = key.as_float()) return float_json(*real);
    throw Failure("tojson: keys must be text, numbers, booleans or none, got " + std::string(type_name(key)));
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) return put("{}");
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        return compare(a->first, b->first, budget_) == Order::Less;
      });
    }
    put("{"), ++level_;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      new_line();
      write_string(key_text(entries[i]->first));
      put(style_.key_separator);
      write(entries[i]->second);
    }
    --level_, new_line(), put("}");
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string json_text(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value);
  return writer.take();
}

}  // namespace grpo::jinja
