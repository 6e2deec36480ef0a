// Expressions of a chat template, with Jinja's precedence.
#pragma once

#include <string>
#include <vector>

#include "text/jinja_parser.h"
#include "text/jinja_token_stream.h"

namespace grpo::jinja {

class ExpressionParser {
 public:
  ExpressionParser(TokenStream& tokens, Tree& tree, int& depth) : tokens_(tokens), tree_(tree), depth_(depth) {}

  const Expression* expression();
  const Expression* without_condition();  // stops before `if`, as in `for x in xs if test`
  // One expression, or a tuple where commas follow. `end` is a name that ends it, such as "in".
  const Expression* tuple(bool allow_condition);
  const Expression* filters(const Expression* input, bool has_name_first);    // | name(...) | name
  const std::vector<std::string>& names_read() const { return names_read_; }  // of variables, for macros

 private:
  Expression* make(ExpressionKind kind, int line);
  const Expression* binary(std::initializer_list<std::string_view> operators,
                           const Expression* (ExpressionParser::*operand)());
  const Expression* conditional();
  const Expression* disjunction();
  const Expression* conjunction();
  const Expression* negation();
  const Expression* comparison();
  const Expression* sum();
  const Expression* concatenation();
  const Expression* product();
  const Expression* power();
  const Expression* operand();
  const Expression* unary(bool with_filters);
  const Expression* primary();
  const Expression* name_or_constant();
  const Expression* parenthesized();
  const Expression* list();
  const Expression* dict();
  const Expression* postfix(const Expression* object);
  const Expression* subscript(const Expression* object);
  const Expression* index_or_slice();
  const Expression* call(const Expression* callee);
  const Expression* test(const Expression* input);
  CallArguments arguments();

  TokenStream& tokens_;
  Tree& tree_;
  int& depth_;
  std::vector<std::string> names_read_;
};

}  // namespace grpo::jinja
