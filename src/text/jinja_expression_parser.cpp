#include "text/jinja_expression_parser.h"

#include <array>

namespace grpo::jinja {

Expression* ExpressionParser::make(ExpressionKind kind, int line) {
  Expression& made = tree_.expressions.emplace_back();
  made.kind = kind;
  made.line = line;
  return &made;
}

const Expression* ExpressionParser::expression() {
  const Nesting nesting(depth_, tokens_);
  return conditional();
}

const Expression* ExpressionParser::without_condition() {
  const Nesting nesting(depth_, tokens_);
  return disjunction();
}

const Expression* ExpressionParser::tuple(bool allow_condition) {
  const int line = tokens_.line();
  const auto item = [&] { return allow_condition ? expression() : without_condition(); };
  const Expression* first = item();
  if (!tokens_.peek().is_operator(",")) return first;
  Expression* made = make(ExpressionKind::Tuple, line);
  made->parts.push_back(first);
  while (tokens_.skip_operator(",")) {
    const Token& token = tokens_.peek();
    if (token.kind == TokenKind::PrintEnd || token.kind == TokenKind::BlockEnd || token.is_operator(")")) break;
    made->parts.push_back(item());
  }
  return made;
}

const Expression* ExpressionParser::conditional() {
  const Expression* value = disjunction();
  while (tokens_.peek().is_name("if")) {
    Expression* made = make(ExpressionKind::Conditional, tokens_.next().line);
    const Expression* condition = disjunction();
    const Nesting nesting(depth_, tokens_);
    const Expression* other = tokens_.skip_name("else") ? conditional() : nullptr;
    made->parts = {condition, value, other};
    value = made;
  }
  return value;
}

const Expression* ExpressionParser::disjunction() {
  const Expression* left = conjunction();
  if (!tokens_.peek().is_name("or")) return left;
  Expression* made = make(ExpressionKind::Or, tokens_.line());
  made->parts.push_back(left);
  while (tokens_.skip_name("or")) made->parts.push_back(conjunction());
  return made;
}

const Expression* ExpressionParser::conjunction() {
  const Expression* left = negation();
  if (!tokens_.peek().is_name("and")) return left;
  Expression* made = make(ExpressionKind::And, tokens_.line());
  made->parts.push_back(left);
  while (tokens_.skip_name("and")) made->parts.push_back(negation());
  return made;
}

const Expression* ExpressionParser::negation() {
  if (!tokens_.peek().is_name("not")) return comparison();
  const Nesting nesting(depth_, tokens_);
  Expression* made = make(ExpressionKind::Unary, tokens_.next().line);
  made->name = "not";
  made->parts.push_back(negation());
  return made;
}

const Expression* ExpressionParser::comparison() {
  static constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  const Expression* first = sum();
  Expression* made = nullptr;
  while (true) {
    const Token& token = tokens_.peek();
    std::string name;
    if (token.kind == TokenKind::Operator &&
        std::find(kOperators.begin(), kOperators.end(), token.text) != kOperators.end()) {
      name = tokens_.next().text;
    } else if (token.is_name("in")) {
      name = tokens_.next().text;
    } else if (token.is_name("not") && tokens_.peek(1).is_name("in")) {
      tokens_.next(), tokens_.next();
      name = "not in";
    } else {
      return made ? made : first;
    }
    if (!made) {
      made = make(ExpressionKind::Compare, tokens_.line());
      made->parts.push_back(first);
    }
    made->names.push_back(std::move(name));
    made->parts.push_back(sum());
  }
}

const Expression* ExpressionParser::binary(std::initializer_list<std::string_view> operators,
                                           const Expression* (ExpressionParser::*operand_of)()) {
  const Expression* left = (this->*operand_of)();
  while (tokens_.peek().kind == TokenKind::Operator &&
         std::find(operators.begin(), operators.end(), tokens_.peek().text) != operators.end()) {
    Expression* made = make(ExpressionKind::Binary, tokens_.line());
    made->name = tokens_.next().text;
    made->parts = {left, (this->*operand_of)()};
    left = made;
  }
  return left;
}

const Expression* ExpressionParser::sum() { return binary({"+", "-"}, &ExpressionParser::concatenation); }
const Expression* ExpressionParser::product() { return binary({"*", "/", "//", "%"}, &ExpressionParser::power); }
const Expression* ExpressionParser::power() { return binary({"**"}, &ExpressionParser::operand); }
const Expression* ExpressionParser::operand() { return unary(true); }

const Expression* ExpressionParser::concatenation() {
  const Expression* first = product();
  if (!tokens_.peek().is_operator("~")) return first;
  Expression* made = make(ExpressionKind::Concat, tokens_.line());
  made->parts.push_back(first);
  while (tokens_.skip_operator("~")) made->parts.push_back(product());
  return made;
}

const Expression* ExpressionParser::unary(bool with_filters) {
  const Nesting nesting(depth_, tokens_);
  const Token& token = tokens_.peek();
  const Expression* value = nullptr;
  if (token.is_operator("-") || token.is_operator("+")) {
    Expression* made = make(ExpressionKind::Unary, token.line);
    made->name = tokens_.next().text;
    made->parts.push_back(unary(false));
    value = made;
  } else {
    value = primary();
  }
  value = postfix(value);
  while (with_filters) {
    if (tokens_.peek().is_operator("|")) {
      value = filters(value, false);
    } else if (tokens_.peek().is_name("is")) {
      value = test(value);
    } else if (tokens_.peek().is_operator("(")) {
      value = call(value);
    } else {
      break;
    }
  }
  return value;
}

const Expression* ExpressionParser::primary() {
  const Token& token = tokens_.peek();
  if (token.kind == TokenKind::Name) return name_or_constant();
  if (token.is_operator("(")) return parenthesized();
  if (token.is_operator("[")) return list();
  if (token.is_operator("{")) return dict();
  Expression* made = make(ExpressionKind::Constant, token.line);
  if (token.kind == TokenKind::String) {
    std::string text;
    while (tokens_.peek().kind == TokenKind::String) text += tokens_.next().text;
    made->constant = Value(std::move(text));
  } else if (token.kind == TokenKind::Integer) {
    made->constant = Value(tokens_.next().integer);
  } else if (token.kind == TokenKind::Float) {
    made->constant = Value(tokens_.next().real);
  } else {
    tokens_.fail("expected an expression, got " + TokenStream::describe(token));
  }
  return made;
}

const Expression* ExpressionParser::name_or_constant() {
  const Token& token = tokens_.next();
  const std::string& name = token.text;
  Expression* made = make(ExpressionKind::Constant, token.line);
  if (name == "true" || name == "True") {
    made->constant = Value(true);
  } else if (name == "false" || name == "False") {
    made->constant = Value(false);
  } else if (name == "none" || name == "None") {
    made->constant = Value(None{});
  } else {
    made->kind = ExpressionKind::Name;
    made->name = name;
    names_read_.push_back(name);
  }
  return made;
}

const Expression* ExpressionParser::parenthesized() {
  const int line = tokens_.next().line;
  if (tokens_.skip_operator(")")) return make(ExpressionKind::Tuple, line);
  const Expression* value = tuple(true);
  tokens_.expect_operator(")");
  return value;
}

const Expression* ExpressionParser::list() {
  Expression* made = make(ExpressionKind::List, tokens_.next().line);
  while (!tokens_.skip_operator("]")) {
    if (!made->parts.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("]")) break;
    }
    made->parts.push_back(expression());
  }
  return made;
}

const Expression* ExpressionParser::dict() {
  Expression* made = make(ExpressionKind::Dict, tokens_.next().line);
  while (!tokens_.skip_operator("}")) {
    if (!made->parts.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("}")) break;
    }
    made->parts.push_back(expression());
    tokens_.expect_operator(":");
    made->parts.push_back(expression());
  }
  return made;
}

const Expression* ExpressionParser::postfix(const Expression* object) {
  while (true) {
    if (tokens_.peek().is_operator(".") || tokens_.peek().is_operator("[")) {
      object = subscript(object);
    } else if (tokens_.peek().is_operator("(")) {
      object = call(object);
    } else {
      return object;
    }
  }
}

const Expression* ExpressionParser::subscript(const Expression* object) {
  const Token& token = tokens_.next();
  Expression* made = make(ExpressionKind::Item, token.line);
  if (token.text == "[") {
    made->parts = {object, index_or_slice()};
    tokens_.expect_operator("]");
  } else if (tokens_.peek().kind == TokenKind::Integer) {
    Expression* index = make(ExpressionKind::Constant, token.line);
    index->constant = Value(tokens_.next().integer);
    made->parts = {object, index};
  } else {
    made->kind = ExpressionKind::Attribute;
    made->parts = {object};
    made->name = tokens_.expect_name("a name or a number after '.'");
  }
  return made;
}

const Expression* ExpressionParser::index_or_slice() {
  const int line = tokens_.line();
  const Expression* start = tokens_.peek().is_operator(":") ? nullptr : expression();
  if (!tokens_.skip_operator(":")) return start;
  const auto bound = [&]() -> const Expression* {
    return tokens_.peek().is_operator(":") || tokens_.peek().is_operator("]") ? nullptr : expression();
  };
  const Expression* stop = bound();
  const Expression* step = tokens_.skip_operator(":") ? bound() : nullptr;
  Expression* made = make(ExpressionKind::Slice, line);
  made->parts = {start, stop, step};
  return made;
}

const Expression* ExpressionParser::call(const Expression* callee) {
  Expression* made = make(ExpressionKind::Call, tokens_.line());
  made->parts = {callee};
  made->arguments = arguments();
  return made;
}

CallArguments ExpressionParser::arguments() {
  CallArguments parsed;
  tokens_.expect_operator("(");
  for (bool first = true; !tokens_.skip_operator(")"); first = false) {
    if (!first) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator(")")) break;
    }
    const bool is_named = tokens_.peek().kind == TokenKind::Name && tokens_.peek(1).is_operator("=");
    if (tokens_.peek().is_operator("*") && !parsed.star && !parsed.double_star) {
      tokens_.next();
      parsed.star = expression();
    } else if (tokens_.peek().is_operator("**") && !parsed.double_star) {
      tokens_.next();
      parsed.double_star = expression();
    } else if (is_named && !parsed.double_star) {
      std::string name = tokens_.next().text;
      tokens_.next();
      parsed.named.emplace_back(std::move(name), expression());
    } else if (!is_named && parsed.named.empty() && !parsed.star && !parsed.double_star) {
      parsed.positional.push_back(expression());
    } else {
      tokens_.fail("invalid order of arguments in a call");
    }
  }
  return parsed;
}

const Expression* ExpressionParser::filters(const Expression* input, bool has_name_first) {
  while (has_name_first || tokens_.skip_operator("|")) {
    has_name_first = false;
    Expression* made = make(ExpressionKind::Filter, tokens_.line());
    made->name = tokens_.expect_name("a filter's name");
    made->parts = {input};
    if (tokens_.peek().is_operator("(")) made->arguments = arguments();
    input = made;
  }
  return input;
}

const Expression* ExpressionParser::test(const Expression* input) {
  Expression* made = make(ExpressionKind::Test, tokens_.next().line);
  const bool negated = tokens_.skip_name("not");
  made->name = tokens_.expect_name("a test's name");
  made->parts = {input};
  const Token& token = tokens_.peek();
  const bool has_argument = token.kind == TokenKind::Name || token.kind == TokenKind::String ||
                            token.kind == TokenKind::Integer || token.kind == TokenKind::Float ||
                            token.is_operator("[") || token.is_operator("{");
  if (token.is_operator("(")) {
    made->arguments = arguments();
  } else if (has_argument && !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) tokens_.fail("tests cannot be chained with 'is'");
    made->arguments.positional.push_back(postfix(primary()));
  }
  if (!negated) return made;
  Expression* inverse = make(ExpressionKind::Unary, made->line);
  inverse->name = "not";
  inverse->parts = {made};
  return inverse;
}

}  // namespace grpo::jinja
