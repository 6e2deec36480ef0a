// Statements of a chat template.
#include "text/jinja_parser.h"

#include <algorithm>

#include "text/jinja_expression_parser.h"

namespace grpo::jinja {

namespace {

class StatementParser {
 public:
  StatementParser(TokenStream& tokens, Tree& tree) : tokens_(tokens), tree_(tree), expressions_(tokens, tree, depth_) {}

  using Body = std::vector<const Statement*>;

  // Statements up to one of the end tags, whose name becomes `ended_by`; without end tags, to the end of the template.
  Body body(std::initializer_list<std::string_view> end_tags, std::string* ended_by = nullptr) {
    const Nesting nesting(depth_, tokens_);
    const int begin_line = tokens_.line();
    Body statements;
    while (tokens_.peek().kind != TokenKind::End) {
      const Token& token = tokens_.peek();
      if (token.kind == TokenKind::Text) {
        Statement* text = make(StatementKind::Text, token.line);
        text->text = tokens_.next().text;
        statements.push_back(text);
      } else if (token.kind == TokenKind::PrintBegin) {
        Statement* print = make(StatementKind::Print, tokens_.next().line);
        print->value = expressions_.tuple(true);
        tokens_.expect(TokenKind::PrintEnd, "'}}'");
        statements.push_back(print);
      } else {
        tokens_.expect(TokenKind::BlockBegin, "'{%'");
        const std::string tag = tokens_.expect_name("a tag's name");
        if (std::find(end_tags.begin(), end_tags.end(), tag) != end_tags.end()) {
          if (ended_by) *ended_by = tag;
          return statements;
        }
        statements.push_back(statement(tag));
        tokens_.expect(TokenKind::BlockEnd, "'%}'");
      }
    }
    if (end_tags.size() > 0) {
      tokens_.fail("the template ends without {% " + std::string(end_tags.begin()[end_tags.size() - 1]) + " %}",
                   begin_line);
    }
    return statements;
  }

 private:
  Statement* make(StatementKind kind, int line) {
    Statement& made = tree_.statements.emplace_back();
    made.kind = kind;
    made.line = line;
    return &made;
  }

  const Statement* statement(const std::string& tag) {
    if (tag == "if") return if_tag();
    if (tag == "for") return for_tag();
    if (tag == "set") return set_tag();
    if (tag == "macro") return macro_tag();
    if (tag == "call") return call_tag();
    if (tag == "filter") return filter_tag();
    if (tag == "with") return with_tag();
    if (tag == "generation") return generation_tag();
    if (tag == "break" || tag == "continue") return jump_tag(tag);
    static constexpr std::string_view kElsewhere[] = {"block", "extends",    "include", "import",
                                                      "from",  "autoescape", "print"};
    if (std::find(std::begin(kElsewhere), std::end(kElsewhere), tag) != std::end(kElsewhere)) {
      tokens_.fail("the tag '" + tag + "' is not supported in chat templates");
    }
    tokens_.fail("unknown or misplaced tag '" + tag + "'");
  }

  // The rest of a begin tag, then a body.
  Body open_body(std::initializer_list<std::string_view> end_tags, std::string* ended_by = nullptr) {
    tokens_.skip_operator(":");
    tokens_.expect(TokenKind::BlockEnd, "'%}'");
    return body(end_tags, ended_by);
  }

  const Statement* if_tag() {
    Statement* first = make(StatementKind::If, tokens_.line());
    Statement* current = first;
    while (true) {
      current->value = expressions_.tuple(false);
      std::string ended_by;
      current->body = open_body({"elif", "else", "endif"}, &ended_by);
      if (ended_by == "endif") return first;
      if (ended_by == "else") {
        current->otherwise = open_body({"endif"});
        return first;
      }
      Statement* next = make(StatementKind::If, tokens_.line());
      current->otherwise = {next};
      current = next;
    }
  }

  const Statement* for_tag() {
    Statement* loop = make(StatementKind::For, tokens_.line());
    loop->targets = {target(false)};
    if (!tokens_.skip_name("in")) tokens_.fail("expected 'in', got " + TokenStream::describe(tokens_.peek()));
    loop->value = expressions_.tuple(false);
    if (tokens_.skip_name("if")) loop->filter = expressions_.expression();
    if (tokens_.peek().is_name("recursive")) tokens_.fail("recursive loops are not supported in chat templates");
    std::string ended_by;
    ++loops_;
    loop->body = open_body({"else", "endfor"}, &ended_by);
    --loops_;
    if (ended_by == "else") loop->otherwise = open_body({"endfor"});
    return loop;
  }

  const Statement* set_tag() {
    Statement* set = make(StatementKind::Set, tokens_.line());
    set->targets = {target(true)};
    if (tokens_.skip_operator("=")) {
      set->value = expressions_.tuple(true);
      return set;
    }
    set->kind = StatementKind::SetBlock;
    if (tokens_.peek().is_operator("|")) set->filter = expressions_.filters(nullptr, false);
    set->body = open_body({"endset"});
    return set;
  }

  Target single_target(bool allow_attribute) {
    if (tokens_.skip_operator("(")) {
      const Nesting nesting(depth_, tokens_);
      Target inner = target(allow_attribute);
      tokens_.expect_operator(")");
      return inner;
    }
    Target made;
    made.name = tokens_.expect_name("a name to assign to");
    static constexpr std::string_view kConstants[] = {"true", "True", "false", "False", "none", "None"};
    if (std::find(std::begin(kConstants), std::end(kConstants), made.name) != std::end(kConstants)) {
      tokens_.fail("cannot assign to '" + made.name + "'");
    }
    if (allow_attribute && tokens_.skip_operator(".")) made.attribute = tokens_.expect_name("an attribute's name");
    return made;
  }

  Target target(bool allow_attribute) {
    Target first = single_target(allow_attribute);
    if (!tokens_.peek().is_operator(",")) return first;
    Target tuple;
    tuple.items.push_back(std::move(first));
    while (tokens_.skip_operator(",")) {
      if (tokens_.peek().is_name("in") || tokens_.peek().is_operator("=") || tokens_.peek().is_operator(")")) break;
      tuple.items.push_back(single_target(allow_attribute));
    }
    return tuple;
  }

  void parameters(Statement& macro) {
    tokens_.expect_operator("(");
    for (bool first = true; !tokens_.skip_operator(")"); first = false) {
      if (!first) tokens_.expect_operator(",");
      Parameter parameter;
      parameter.name = tokens_.expect_name("a parameter's name");
      if (tokens_.skip_operator("=")) {
        parameter.default_value = expressions_.expression();
      } else if (!macro.parameters.empty() && macro.parameters.back().default_value) {
        tokens_.fail("a parameter without default follows one with a default");
      }
      macro.parameters.push_back(std::move(parameter));
    }
  }

  // A body that runs as a function: loops around it end at its edge.
  Body function_body(std::string_view end_tag, Statement& function) {
    const int outer_loops = std::exchange(loops_, 0);
    const std::size_t first_name = expressions_.names_read().size();
    Body statements = open_body({end_tag});
    loops_ = outer_loops;
    const auto& names = expressions_.names_read();
    const auto reads = [&](std::string_view name) {
      return std::find(names.begin() + static_cast<std::ptrdiff_t>(first_name), names.end(), name) != names.end();
    };
    function.uses_varargs = reads("varargs");
    function.uses_kwargs = reads("kwargs");
    function.uses_caller = reads("caller");
    return statements;
  }

  const Statement* macro_tag() {
    Statement* macro = make(StatementKind::Macro, tokens_.line());
    macro->text = tokens_.expect_name("the macro's name");
    parameters(*macro);
    macro->body = function_body("endmacro", *macro);
    return macro;
  }

  const Statement* call_tag() {
    Statement* call = make(StatementKind::CallBlock, tokens_.line());
    call->text = "caller";
    if (tokens_.peek().is_operator("(")) parameters(*call);
    call->value = expressions_.expression();
    if (call->value->kind != ExpressionKind::Call) tokens_.fail("expected a call after 'call'");
    call->body = function_body("endcall", *call);
    return call;
  }

  const Statement* filter_tag() {
    Statement* filter = make(StatementKind::FilterBlock, tokens_.line());
    filter->filter = expressions_.filters(nullptr, true);
    filter->body = open_body({"endfilter"});
    return filter;
  }

  const Statement* with_tag() {
    Statement* with = make(StatementKind::With, tokens_.line());
    while (tokens_.peek().kind != TokenKind::BlockEnd) {
      if (!with->targets.empty()) tokens_.expect_operator(",");
      with->targets.push_back(single_target(false));
      tokens_.expect_operator("=");
      with->values.push_back(expressions_.expression());
    }
    with->body = open_body({"endwith"});
    return with;
  }

  const Statement* generation_tag() {
    Statement* generation = make(StatementKind::Generation, tokens_.line());
    tree_.has_generation = true;
    generation->body = function_body("endgeneration", *generation);
    return generation;
  }

  const Statement* jump_tag(const std::string& tag) {
    if (loops_ == 0) tokens_.fail("'" + tag + "' outside a loop");
    return make(tag == "break" ? StatementKind::Break : StatementKind::Continue, tokens_.line());
  }

  TokenStream& tokens_;
  Tree& tree_;
  int depth_ = 0;
  int loops_ = 0;
  ExpressionParser expressions_;
};

}  // namespace

Tree parse(std::string_view text, const std::string& source) {
  TokenStream tokens(tokenize(text, source), source);
  Tree tree;
  tree.body = StatementParser(tokens, tree).body({});
  return tree;
}

}  // namespace grpo::jinja
