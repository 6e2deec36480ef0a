// Filters and tests by name; null for an unknown one.
#pragma once

#include <string_view>

#include "text/jinja_interpreter.h"

namespace grpo::jinja {

using FilterFunction = Value (*)(Interpreter& interpreter, const Value& input, const Arguments& arguments);
using TestFunction = bool (*)(Interpreter& interpreter, const Value& input, const Arguments& arguments);

FilterFunction find_filter(std::string_view name);
FilterFunction find_sequence_filter(std::string_view name);  // the part of find_filter that concerns sequences
TestFunction find_test(std::string_view name);

}  // namespace grpo::jinja
