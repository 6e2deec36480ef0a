// A cursor over tokens, shared by the two halves of the template parser.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpo/error.h>

#include "text/jinja_lexer.h"

namespace grpo::jinja {

class TokenStream {
 public:
  TokenStream(std::vector<Token> tokens, std::string source) : tokens_(std::move(tokens)), source_(std::move(source)) {}

  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[std::min(at_++, tokens_.size() - 1)]; }
  int line() const { return peek().line; }

  bool skip_name(std::string_view name) {
    if (!peek().is_name(name)) return false;
    next();
    return true;
  }
  bool skip_operator(std::string_view symbol) {
    if (!peek().is_operator(symbol)) return false;
    next();
    return true;
  }
  std::string expect_name(std::string_view what) {
    if (peek().kind != TokenKind::Name) fail("expected " + std::string(what) + ", got " + describe(peek()));
    return next().text;
  }
  void expect_operator(std::string_view symbol) {
    if (!skip_operator(symbol)) fail("expected '" + std::string(symbol) + "', got " + describe(peek()));
  }
  void expect(TokenKind kind, std::string_view what) {
    if (peek().kind != kind) fail("expected " + std::string(what) + ", got " + describe(peek()));
    next();
  }

  [[noreturn]] void fail(const std::string& what) const { fail(what, line()); }
  [[noreturn]] void fail(const std::string& what, int line) const {
    throw Error(source_ + ":" + std::to_string(line) + ": " + what);
  }

  static std::string describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::Text:
        return "template text";
      case TokenKind::PrintBegin:
        return "'{{'";
      case TokenKind::PrintEnd:
        return "'}}'";
      case TokenKind::BlockBegin:
        return "'{%'";
      case TokenKind::BlockEnd:
        return "'%}'";
      case TokenKind::String:
        return "a string";
      case TokenKind::End:
        return "the end of the template";
      case TokenKind::Name:
      case TokenKind::Integer:
      case TokenKind::Float:
      case TokenKind::Operator:
        break;
    }
    return "'" + token.text + "'";
  }

 private:
  std::vector<Token> tokens_;
  std::string source_;
  std::size_t at_ = 0;
};

// Guards the parser's recursion.
class Nesting {
 public:
  Nesting(int& depth, const TokenStream& tokens) : depth_(depth) {
    if (++depth_ > 100) {
      --depth_;
      tokens.fail("nested more than 100 levels deep");
    }
  }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

}  // namespace grpo::jinja
