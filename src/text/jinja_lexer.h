// Tokens of a chat template, with Jinja's white-space control (trim_blocks, lstrip_blocks, `-` and `+` signs).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::jinja {

enum class TokenKind { Text, PrintBegin, PrintEnd, BlockBegin, BlockEnd, Name, String, Integer, Float, Operator, End };

struct Token {
  TokenKind kind = TokenKind::End;
  std::string text;  // template text, name, operator, or a string's value
  std::int64_t integer = 0;
  double real = 0;
  int line = 1;

  bool is_name(std::string_view name) const { return kind == TokenKind::Name && text == name; }
  bool is_operator(std::string_view symbol) const { return kind == TokenKind::Operator && text == symbol; }
};

// Throws Error "<source>:<line>: ...".
std::vector<Token> tokenize(std::string_view text, const std::string& source);

}  // namespace grpo::jinja
