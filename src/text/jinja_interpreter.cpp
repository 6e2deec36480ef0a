// Statements, scopes, macros and loops of a chat template.
#include "text/jinja_interpreter.h"

#include <algorithm>

namespace grpo::jinja {

// Guards the interpreter's recursion.
class Interpreter::Depth {
 public:
  explicit Depth(int& depth) : depth_(depth) {
    if (depth_ >= 400) throw Failure("the template recurses too deep");
    ++depth_;
  }
  ~Depth() { --depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  int& depth_;
};

namespace {

// Puts a variable back to its former value at the end of a block.
template <class T>
class Restore {
 public:
  explicit Restore(T& variable) : variable_(variable), saved_(variable) {}
  ~Restore() { variable_ = std::move(saved_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& variable_;
  T saved_;
};

std::shared_ptr<Scope> child_of(std::shared_ptr<Scope> parent) {
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(parent);
  return scope;
}

}  // namespace

Interpreter::Interpreter(const Tree& tree, const Dict& variables) : tree_(tree), scope_(child_of(nullptr)) {
  for (const auto& [name, value] : variables.entries) scope_->variables[*name.as_text()] = value;
}

Interpreter::~Interpreter() {
  for (const auto& loop : changed_loops_) loop->last_changed.reset();
  for (const auto& space : namespaces_) space->entries.clear();
}

Interpreter::Result Interpreter::run() {
  out_ = &result_.text;
  run_body(tree_.body);
  return std::move(result_);
}

void Interpreter::write(std::string_view text) {
  budget_.grow(out_->size(), text.size());
  out_->append(text);
}

Interpreter::Flow Interpreter::run_body(const std::vector<const Statement*>& body) {
  const Depth depth(depth_);
  for (const Statement* statement : body) {
    budget_.work();
    line_ = statement->line;
    if (const Flow flow = run_statement(*statement); flow != Flow::Next) return flow;
  }
  return Flow::Next;
}

Interpreter::Flow Interpreter::run_statement(const Statement& statement) {
  switch (statement.kind) {
    case StatementKind::Text:
      write(statement.text);
      return Flow::Next;
    case StatementKind::Print:
      write(to_text(evaluate(*statement.value), budget_));
      return Flow::Next;
    case StatementKind::If:
      return run_if(statement);
    case StatementKind::For:
      return run_for(statement);
    case StatementKind::Set:
      assign(statement.targets[0], evaluate(*statement.value));
      return Flow::Next;
    case StatementKind::SetBlock:
      return run_set_block(statement);
    case StatementKind::Macro:
      define_macro(statement);
      return Flow::Next;
    case StatementKind::CallBlock:
      run_call_block(statement);
      return Flow::Next;
    case StatementKind::FilterBlock:
      return run_filter_block(statement);
    case StatementKind::With:
      return run_with(statement);
    case StatementKind::Generation:
      run_generation(statement);
      return Flow::Next;
    case StatementKind::Break:
      return Flow::Break;
    case StatementKind::Continue:
      return Flow::Continue;
  }
  throw Failure("a statement of no known kind");
}

Interpreter::Flow Interpreter::run_if(const Statement& statement) {
  const Statement* current = &statement;
  while (!truthy(evaluate(*current->value))) {
    // An elif is an If alone in the other branch.
    if (current->otherwise.size() != 1 || current->otherwise[0]->kind != StatementKind::If) {
      return run_body(current->otherwise);
    }
    current = current->otherwise[0];
    line_ = current->line;
  }
  return run_body(current->body);
}

std::optional<Value> Interpreter::pull(Loop& loop) {
  if (loop.ahead) return std::exchange(loop.ahead, std::nullopt);
  const Restore<std::shared_ptr<Scope>> restore(scope_);
  while (loop.next < loop.items.size()) {
    budget_.work();
    Value item = loop.items[loop.next++];
    if (!loop.filtered) return item;
    scope_ = child_of(loop.outer);
    assign(loop.statement->targets[0], item);
    if (truthy(evaluate(*loop.statement->filter))) return item;
  }
  return std::nullopt;
}

Interpreter::Flow Interpreter::run_for(const Statement& statement) {
  auto loop = std::make_shared<Loop>();
  loop->items = iterate(evaluate(*statement.value), budget_);
  loop->filtered = statement.filter != nullptr;
  loop->statement = &statement;
  loop->outer = scope_;
  const Restore<std::shared_ptr<Scope>> restore(scope_);
  Flow flow = Flow::Next;
  bool completed_one = false;  // as in Jinja, a loop left by break or continue alone still runs its else
  while (flow != Flow::Break) {
    std::optional<Value> item = pull(*loop);
    if (!item) break;
    ++loop->index0;
    loop->previous = std::exchange(loop->current, *item);
    scope_ = child_of(loop->outer);
    scope_->variables["loop"] = Value(loop);
    assign(statement.targets[0], *item);
    flow = run_body(statement.body);
    completed_one = completed_one || flow == Flow::Next;
  }
  scope_ = loop->outer;
  // Whoever kept the loop keeps no chain of loops alive.
  loop->items.clear();
  loop->ahead.reset();
  loop->previous = loop->current = Value();
  loop->last_changed.reset();
  loop->outer.reset();
  if (!completed_one) return run_scoped(statement.otherwise);
  return Flow::Next;
}

Interpreter::Flow Interpreter::run_scoped(const std::vector<const Statement*>& body) {
  const Restore<std::shared_ptr<Scope>> restore(scope_);
  scope_ = child_of(scope_);
  return run_body(body);
}

std::string Interpreter::capture_into(const std::vector<const Statement*>& body, Flow& flow) {
  std::string text;
  const Restore<std::string*> restore(out_);
  out_ = &text;
  flow = run_scoped(body);
  return text;
}

Interpreter::Flow Interpreter::run_set_block(const Statement& statement) {
  Flow flow = Flow::Next;
  Value text(capture_into(statement.body, flow));
  if (flow != Flow::Next) return flow;
  if (statement.filter) text = evaluate_filter(*statement.filter, &text);
  assign(statement.targets[0], text);
  return Flow::Next;
}

Interpreter::Flow Interpreter::run_filter_block(const Statement& statement) {
  Flow flow = Flow::Next;
  const Value text(capture_into(statement.body, flow));
  if (flow == Flow::Next) write(to_text(evaluate_filter(*statement.filter, &text), budget_));
  return flow;
}

Interpreter::Flow Interpreter::run_with(const Statement& statement) {
  const Values values = evaluate_all(statement.values);
  const Restore<std::shared_ptr<Scope>> restore(scope_);
  scope_ = child_of(scope_);
  for (std::size_t i = 0; i < values.size(); ++i) assign(statement.targets[i], values[i]);
  return run_body(statement.body);
}

void Interpreter::run_generation(const Statement& statement) {
  const std::size_t begin = result_.text.size();
  run_scoped(statement.body);
  const std::size_t end = result_.text.size();
  if (out_ != &result_.text || begin == end) return;
  auto& blocks = result_.generated;
  while (!blocks.empty() && blocks.back().first >= begin) blocks.pop_back();  // blocks inside this one
  blocks.emplace_back(begin, end);
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (!target.items.empty()) {
    const Values items = iterate(value, budget_);
    if (items.size() != target.items.size()) {
      throw Failure("expected " + std::to_string(target.items.size()) + " values to unpack, got " +
                    std::to_string(items.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i]);
  } else if (target.attribute.empty()) {
    scope_->variables[target.name] = value;
  } else {
    const Value object = lookup(target.name);
    const auto* space = object.as_namespace();
    if (!space) throw Failure("cannot set '" + target.name + "." + target.attribute + "': not a namespace");
    if (target.attribute[0] == '_') throw Failure("a namespace's attribute cannot start with an underscore");
    budget_.work((*space)->entries.size() / 8);
    (*space)->set(target.attribute, value);
  }
}

void Interpreter::define_macro(const Statement& statement) {
  auto macro = std::make_shared<Callable>();
  macro->kind = Callable::Kind::Macro;
  macro->name = statement.text;
  macro->macro = &statement;
  macro->scope = scope_;
  scope_->variables[statement.text] = Value(std::shared_ptr<const Callable>(std::move(macro)));
}

void Interpreter::run_call_block(const Statement& statement) {
  auto caller = std::make_shared<Callable>();
  caller->kind = Callable::Kind::Macro;
  caller->name = "caller";
  caller->macro = &statement;
  caller->scope = scope_;
  const Value callee = evaluate(*statement.value->parts[0]);
  Arguments arguments = evaluate_arguments(statement.value->arguments);
  arguments.named.emplace_back("caller", Value(std::shared_ptr<const Callable>(std::move(caller))));
  write(to_text(call(callee, arguments), budget_));
}

void Interpreter::bind_macro(const Statement& macro, const Arguments& arguments) {
  const std::size_t num_positional = std::min(arguments.positional.size(), macro.parameters.size());
  if (arguments.positional.size() > num_positional && !macro.uses_varargs) {
    throw Failure("macro '" + macro.text + "' takes at most " + std::to_string(macro.parameters.size()) + " arguments");
  }
  auto& variables = scope_->variables;
  Values extra(arguments.positional.begin() + static_cast<std::ptrdiff_t>(num_positional), arguments.positional.end());
  if (macro.uses_varargs) variables["varargs"] = Value::tuple(std::move(extra));
  if (macro.uses_caller) variables["caller"] = Value::undefined("no caller defined");
  for (std::size_t i = 0; i < num_positional; ++i) variables[macro.parameters[i].name] = arguments.positional[i];
  budget_.work(arguments.named.size() * macro.parameters.size() / 8);
  std::vector<std::pair<Value, Value>> extra_named;
  std::vector<bool> given(macro.parameters.size(), false);
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find_if(macro.parameters.begin(), macro.parameters.end(),
                                    [&key = name](const Parameter& parameter) { return parameter.name == key; });
    const auto index = static_cast<std::size_t>(found - macro.parameters.begin());
    if (found != macro.parameters.end() && index >= num_positional) {
      variables[name] = value;
      given[index] = true;
    } else if (name == "caller" && macro.uses_caller) {
      variables[name] = value;
    } else if (macro.uses_kwargs) {
      extra_named.emplace_back(Value(name), value);
    } else {
      throw Failure("macro '" + macro.text + "' takes no argument '" + name + "'");
    }
  }
  if (macro.uses_kwargs) variables["kwargs"] = Value::dict(std::move(extra_named));
  for (std::size_t i = num_positional; i < macro.parameters.size(); ++i) {
    if (given[i]) continue;
    const Parameter& parameter = macro.parameters[i];
    variables[parameter.name] = Value::undefined("parameter '" + parameter.name + "' was not provided");
    if (parameter.default_value) variables[parameter.name] = evaluate(*parameter.default_value);
  }
}

Value Interpreter::call_macro(const Callable& macro, const Arguments& arguments) {
  const Depth depth(depth_);
  const std::shared_ptr<Scope> definition = macro.scope.lock();
  if (!definition) throw Failure("macro '" + macro.name + "' is called after the block that defines it has ended");
  const Restore<std::shared_ptr<Scope>> restore_scope(scope_);
  const Restore<std::string*> restore_out(out_);
  const Restore<int> restore_line(line_);
  scope_ = child_of(definition);
  bind_macro(*macro.macro, arguments);
  std::string text;
  out_ = &text;
  run_body(macro.macro->body);
  return Value(std::move(text));
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  budget_.work();
  if (callee.is_undefined()) throw Failure(callee.undefined_reason());
  const Callable* callable = callee.as_callable();
  if (!callable) throw Failure("'" + std::string(type_name(callee)) + "' cannot be called");
  switch (callable->kind) {
    case Callable::Kind::Macro:
      return call_macro(*callable, arguments);
    case Callable::Kind::Function:
      return call_function(callable->name, arguments, *this);
    case Callable::Kind::Method:
      if (Loop* loop = callable->self.as_loop()) return call_loop_method(*loop, callable->name, arguments);
      return call_method(*callable, arguments, *this);
  }
  throw Failure("a callable of no known kind");
}

Value Interpreter::make_namespace(const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  const auto put = [&](const std::string& name, const Value& value) {
    if (!name.empty() && name[0] == '_') throw Failure("a namespace's attribute cannot start with an underscore");
    budget_.work(space->entries.size() / 8);
    space->set(name, value);
  };
  if (arguments.positional.size() > 1) throw Failure("namespace takes at most 1 positional argument");
  for (const Value& source : arguments.positional) {
    const Dict* dict = source.as_dict();
    if (!dict) throw Failure("namespace expects a dict, got " + std::string(type_name(source)));
    for (const auto& [name, value] : dict->entries) put(to_text(name, budget_), value);
  }
  for (const auto& [name, value] : arguments.named) put(name, value);
  namespaces_.push_back(space);
  return Value(std::move(space));
}

}  // namespace grpo::jinja
