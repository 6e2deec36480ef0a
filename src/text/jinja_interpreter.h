// Runs the tree of a chat template.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_parser.h"
#include "text/jinja_value.h"

namespace grpo::jinja {

struct Scope {
  std::map<std::string, Value, std::less<>> variables;
  std::shared_ptr<Scope> parent;
};

// The state behind `loop`. Items are pulled one by one, since a filter may depend on what the body did.
struct Loop : std::enable_shared_from_this<Loop> {
  Values items;  // cleared when the loop has ended
  std::size_t next = 0;
  bool filtered = false;
  std::optional<Value> ahead;  // pulled to answer `last` or `nextitem`
  std::optional<std::size_t> known_length;
  std::int64_t index0 = -1;
  Value current;
  Value previous;
  std::optional<Values> last_changed;
  const Statement* statement = nullptr;
  std::shared_ptr<Scope> outer;
};

class Interpreter {
 public:
  // `variables`: what the template sees.
  Interpreter(const Tree& tree, const Dict& variables);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  struct Result {
    std::string text;
    std::vector<std::pair<std::size_t, std::size_t>> generated;  // bytes in {% generation %} blocks, in order
  };
  Result run();
  int line() const { return line_; }  // where it stands, for messages

  // For filters, methods and functions.
  Budget& budget() { return budget_; }
  Value call(const Value& callee, const Arguments& arguments);
  Value filter(std::string_view name, const Value& input, const Arguments& arguments);
  bool test(std::string_view name, const Value& input, const Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& index);            // object[index]
  Value make_namespace(const Arguments& arguments);

 private:
  enum class Flow { Next, Break, Continue };
  class Depth;

  Flow run_body(const std::vector<const Statement*>& body);
  Flow run_statement(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_for(const Statement& statement);
  Flow run_scoped(const std::vector<const Statement*>& body);
  Flow run_set_block(const Statement& statement);
  Flow run_filter_block(const Statement& statement);
  Flow run_with(const Statement& statement);
  void run_generation(const Statement& statement);
  void run_call_block(const Statement& statement);
  void define_macro(const Statement& statement);
  Value call_macro(const Callable& macro, const Arguments& arguments);
  void bind_macro(const Statement& macro, const Arguments& arguments);
  std::optional<Value> pull(Loop& loop);
  Value loop_attribute(Loop& loop, const std::string& name);
  Value call_loop_method(Loop& loop, const std::string& name, const Arguments& arguments);
  void assign(const Target& target, const Value& value);
  void write(std::string_view text);
  std::string capture_into(const std::vector<const Statement*>& body, Flow& flow);

  Value evaluate(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_item(const Expression& expression);
  Value evaluate_filter(const Expression& expression, const Value* block_text);
  Values evaluate_all(const std::vector<const Expression*>& parts);
  Arguments evaluate_arguments(const CallArguments& arguments);
  Value lookup(const std::string& name);

  const Tree& tree_;
  Budget budget_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  Result result_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;  // emptied at the end: they may hold each other
  std::vector<std::shared_ptr<Loop>> changed_loops_;    // likewise, of what `changed` was told
  int depth_ = 0;
  int line_ = 0;
};

// Operators and look-ups that need no interpreter.
Value unary_operator(std::string_view symbol, const Value& operand);
Value binary_operator(std::string_view symbol, const Value& left, const Value& right, Budget& budget);
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step, Budget& budget);
Value plain_item(const Value& object, const Value& index, Budget& budget);  // Undefined when there is none
// str.replace: at most `most` times, or everywhere when it is negative.
std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                    Budget& budget);
const std::string& expect_text(std::string_view function, const Value& value);
std::int64_t expect_integer(std::string_view function, const Value* value, std::int64_t fallback);

// What `object.name` is when `name` is a method of its type; Undefined with the reason for one that would change it.
std::optional<Value> method_of(const Value& object, const std::string& name);
Value call_method(const Callable& method, const Arguments& arguments, Interpreter& interpreter);
bool is_text_method(std::string_view name);  // of Python's str, supported or not
Value call_text_method(const std::string& self, const std::string& name, const Arguments& arguments, Budget& budget);
std::optional<Value> global_function(std::string_view name);
Value call_function(const std::string& name, const Arguments& arguments, Interpreter& interpreter);

}  // namespace grpo::jinja
