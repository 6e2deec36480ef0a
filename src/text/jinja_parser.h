// The tree of a chat template.
//
// Nodes live in the Tree's arenas and point at each other, so that a hostile template cannot make their destruction
// recurse. Immutable after parsing; safe to share between threads.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace grpo::jinja {

struct Expression;

struct CallArguments {
  std::vector<const Expression*> positional;
  std::vector<std::pair<std::string, const Expression*>> named;
  const Expression* star = nullptr;         // *list
  const Expression* double_star = nullptr;  // **dict
};

// `parts` by kind:
//   List, Tuple, Concat, And, Or: the items        Dict: key, value, key, value...
//   Unary: operand (name: operator)                Binary: left, right (name: operator)
//   Compare: first, then one per operator in `names`
//   Conditional: test, value, other (may be null)
//   Attribute: object (name)                       Item: object, index
//   Slice: start, stop, step (each may be null)    Call: callee
//   Filter, Test: input (name; a Filter's input is null in `set` and `filter` blocks)
enum class ExpressionKind {
  Constant,
  Name,
  List,
  Tuple,
  Dict,
  Unary,
  Binary,
  Compare,
  And,
  Or,
  Concat,
  Conditional,
  Attribute,
  Item,
  Slice,
  Call,
  Filter,
  Test
};
struct Expression {
  ExpressionKind kind = ExpressionKind::Constant;
  int line = 0;
  std::string name;
  Value constant;
  std::vector<const Expression*> parts;
  std::vector<std::string> names;
  CallArguments arguments;
};

// Assignment target: a name, a namespace's attribute, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;
  std::vector<Target> items;  // not empty: a tuple
};

struct Parameter {
  std::string name;
  const Expression* default_value = nullptr;
};

// Fields by kind:
//   Text: text                                  Print: value
//   If: value, body, otherwise                  For: targets[0], value, filter (may be null), body, otherwise
//   Set: targets[0], value                      SetBlock: targets[0], filter (may be null), body
//   Macro: text (name), parameters, body        CallBlock: value (the call), parameters, body
//   FilterBlock: filter, body                   With: targets, values, body            Generation: body
enum class StatementKind {
  Text,
  Print,
  If,
  For,
  Set,
  SetBlock,
  Macro,
  CallBlock,
  FilterBlock,
  With,
  Generation,
  Break,
  Continue
};
struct Statement {
  StatementKind kind = StatementKind::Text;
  int line = 0;
  std::string text;
  const Expression* value = nullptr;
  const Expression* filter = nullptr;
  std::vector<const Expression*> values;
  std::vector<Target> targets;
  std::vector<Parameter> parameters;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  std::vector<const Statement*> body;
  std::vector<const Statement*> otherwise;
};

struct Tree {
  std::deque<Expression> expressions;
  std::deque<Statement> statements;
  std::vector<const Statement*> body;
  bool has_generation = false;
};

// Throws Error "<source>:<line>: ...".
Tree parse(std::string_view text, const std::string& source);

}  // namespace grpo::jinja
