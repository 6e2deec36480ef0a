// Generators of arithmetic problems.
//
// Held out or not is a property of a problem alone, frozen: FNV-1a (64 bit) of its operands in ascending order, written
// in decimal and joined by commas (countdown: the target follows after a colon), then the finaliser of SplitMix64;
// the problem is held out when the result's top 53 bits, as a fraction of 2^53, are below `held_out`. Draws are
// addressed by (seed, RandomStage::Tasks, row, attempt, position).
#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include <grpo/text.h>

#include "base/random.h"

namespace grpo::inline GRPO_ABI {

namespace {

constexpr std::int64_t kMaxOperand = 999'999'999;
constexpr std::int64_t kMaxProblems = std::int64_t{1} << 22;  // that are listed, or drawn

struct Problem {
  std::vector<std::int64_t> operands;
  std::vector<char> operators;  // between the operands of a sum
  std::int64_t answer = 0;
  std::string solution;  // countdown: an expression that gives the answer
};

std::string joined(const std::vector<std::int64_t>& numbers, std::string_view separator) {
  std::string text;
  for (const std::int64_t number : numbers) text.append(text.empty() ? "" : separator).append(std::to_string(number));
  return text;
}

bool is_held_out(const Problem& problem, const TaskOptions& options) {
  std::vector<std::int64_t> sorted = problem.operands;
  std::sort(sorted.begin(), sorted.end());
  std::string key = joined(sorted, ",");
  if (options.task == "countdown") key.append(":").append(std::to_string(problem.answer));
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9u;
  hash = (hash ^ hash >> 27) * 0x94D049BB133111EBu;
  hash ^= hash >> 31;
  return static_cast<double>(hash >> 11) * 0x1p-53 < options.held_out;
}

// Draws of one attempt at one row.
class Draws {
 public:
  Draws(std::int64_t seed, std::uint64_t row, std::uint64_t attempt) : seed_(static_cast<std::uint64_t>(seed)) {
    address_.stage = static_cast<std::uint32_t>(RandomStage::Tasks);
    address_.row = row;
    address_.occurrence = attempt;
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    ++address_.sample;
    return low + static_cast<std::int64_t>(random_below(static_cast<std::uint64_t>(high - low + 1), seed_, address_));
  }

 private:
  std::uint64_t seed_;
  RandomAddress address_;
};

char operator_of(const std::string& task) { return task == "subtraction" ? '-' : task == "multiplication" ? '*' : '+'; }

Problem binary_problem(const std::string& task, std::int64_t a, std::int64_t b) {
  const char symbol = operator_of(task);
  return {{a, b}, {symbol}, symbol == '-' ? a - b : symbol == '*' ? a * b : a + b, ""};
}

// Three to five terms, added or subtracted.
Problem chain_problem(const TaskOptions& options, Draws& draws) {
  Problem problem;
  const std::int64_t num_terms = draws.between(3, 5);
  for (std::int64_t i = 0; i < num_terms; ++i) {
    const std::int64_t term = draws.between(options.min_value, options.max_value);
    const bool minus = i > 0 && draws.between(0, 1) == 1;
    if (i > 0) problem.operators.push_back(minus ? '-' : '+');
    problem.operands.push_back(term);
    problem.answer += minus ? -term : term;
  }
  return problem;
}

// Three or four numbers, each used once; the target comes from combining two of them at a time, so it is reachable.
// Every step gives a positive integer of at most ten times the largest number; a step that does not is drawn anew.
std::optional<Problem> countdown_problem(const TaskOptions& options, Draws& draws) {
  Problem problem;
  std::vector<std::pair<std::int64_t, std::string>> pool;
  const std::int64_t num_numbers = draws.between(3, 4);
  for (std::int64_t i = 0; i < num_numbers; ++i) {
    problem.operands.push_back(draws.between(std::max<std::int64_t>(options.min_value, 1), options.max_value));
    pool.emplace_back(problem.operands.back(), std::to_string(problem.operands.back()));
  }
  while (pool.size() > 1) {
    const auto take = [&] {
      const std::int64_t at = draws.between(0, static_cast<std::int64_t>(pool.size()) - 1);
      auto taken = pool[static_cast<std::size_t>(at)];
      pool.erase(pool.begin() + at);
      return taken;
    };
    const auto [a, a_text] = take();
    const auto [b, b_text] = take();
    const char symbol = "+-*/"[draws.between(0, 3)];
    if (symbol == '/' && a % b != 0) return std::nullopt;
    const std::int64_t value = symbol == '+' ? a + b : symbol == '-' ? a - b : symbol == '*' ? a * b : a / b;
    if (value < 1 || value > 10 * options.max_value) return std::nullopt;
    pool.emplace_back(value, "(" + a_text + symbol + b_text + ")");
  }
  problem.answer = pool[0].first;
  problem.solution = pool[0].second.substr(1, pool[0].second.size() - 2);
  return problem;
}

std::string expression_of(const Problem& problem) {
  std::string text = std::to_string(problem.operands[0]);
  for (std::size_t i = 1; i < problem.operands.size(); ++i) {
    text += problem.operators[i - 1] + std::to_string(problem.operands[i]);
  }
  return text;
}

std::string question_of(const Problem& problem, const TaskOptions& options) {
  const bool countdown = options.task == "countdown";
  const bool default_format = options.format == TaskOptions().format;
  if (countdown && default_format) {
    return "Using the numbers [" + joined(problem.operands, ", ") + "], write an expression that equals " +
           std::to_string(problem.answer) + ". Use each number exactly once, with +, -, * and /.";
  }
  std::vector<std::pair<std::string, std::string>> fields;
  if (countdown) {
    fields = {{"{numbers}", joined(problem.operands, ", ")}, {"{target}", std::to_string(problem.answer)}};
  } else {  // a chain's {b} is the rest of the sum
    const std::string first = std::to_string(problem.operands[0]);
    fields = {{"{a}", first},
              {"{op}", std::string(1, problem.operators[0])},
              {"{b}", expression_of(problem).substr(first.size() + 1)}};
  }
  std::string text = options.format;
  for (const auto& [name, value] : fields) {
    const std::size_t at = text.find(name);
    GRPO_CHECK(at != std::string::npos, "make_tasks: format: expected " + name + " in '" + options.format + "'");
    text.replace(at, name.size(), value);
  }
  return text;
}

// Columns from the right, each "digit+digit+carry=carry digit;" (subtraction: "-", and borrow): the answer is the last
// carry and the digits after it, backwards.
std::string columns(std::int64_t a, std::int64_t b, char symbol) {
  std::string text;
  for (std::int64_t carry = 0, column = 0; column == 0 || a > 0 || b > 0; ++column, a /= 10, b /= 10) {
    const std::int64_t x = a % 10;
    const std::int64_t y = b % 10;
    const std::int64_t sum = symbol == '+' ? x + y + carry : x - y - carry;
    text += std::to_string(x) + symbol + std::to_string(y) + symbol + std::to_string(carry) + "=";
    carry = symbol == '+' ? sum / 10 : sum < 0 ? 1 : 0;
    text += std::to_string(carry) + std::to_string((sum + 10) % 10) + ";";
  }
  return text;
}

// A worked answer, short and regular, made for tiny models: its thinking uses only digits and + - * = ;
std::string completion_of(const Problem& problem, const TaskOptions& options) {
  const std::int64_t a = problem.operands[0];
  const std::int64_t b = problem.operands[1];
  std::string thinking;
  if (options.task == "addition") {
    thinking = columns(a, b, '+');
  } else if (options.task == "subtraction") {
    thinking = columns(std::max(a, b), std::min(a, b), '-');  // the sign is the answer's
  } else if (options.task == "multiplication") {
    std::int64_t place = 1;
    std::int64_t total = 0;
    for (std::int64_t rest = b; rest > 0 || place == 1; rest /= 10, place *= 10) {
      const std::int64_t part = a * (rest % 10) * place;
      thinking += std::to_string(a) + "*" + std::to_string(rest % 10 * place) + "=" + std::to_string(part) + ";";
      if (place > 1)
        thinking += std::to_string(total) + "+" + std::to_string(part) + "=" + std::to_string(total + part) + ";";
      total += part;
    }
  } else {
    std::int64_t total = a;
    for (std::size_t i = 1; i < problem.operands.size(); ++i) {
      const std::int64_t next = total + (problem.operators[i - 1] == '-' ? -problem.operands[i] : problem.operands[i]);
      thinking += std::to_string(total) + problem.operators[i - 1] + std::to_string(problem.operands[i]) + "=" +
                  std::to_string(next) + ";";
      total = next;
    }
  }
  return "<think>" + thinking + "</think><answer>" + std::to_string(problem.answer) + "</answer>";
}

Json row_of(const Problem& problem, const TaskOptions& options) {
  Json row;
  row["question"] = question_of(problem, options);
  row["answer"] = std::to_string(problem.answer);
  if (options.task == "countdown") {
    row["numbers"] = Json(problem.operands);
    row["target"] = problem.answer;
    row["solution"] = problem.solution;
  } else if (options.task == "chain_sum") {
    row["terms"] = Json(problem.operands);
  } else {
    row["a"] = problem.operands[0];
    row["b"] = problem.operands[1];
  }
  if (options.worked) row["completion"] = completion_of(problem, options);
  return row;
}

bool is_binary(const std::string& task) {
  return task == "addition" || task == "subtraction" || task == "multiplication";
}

void check(const TaskOptions& options) {
  const bool known = is_binary(options.task) || options.task == "chain_sum" || options.task == "countdown";
  GRPO_CHECK(known, "make_tasks: task: expected addition, subtraction, multiplication, chain_sum or countdown, got '" +
                        options.task + "'");
  GRPO_CHECK(
      options.min_value <= options.max_value && options.min_value >= -kMaxOperand && options.max_value <= kMaxOperand,
      "make_tasks: min_value..max_value: expected a range within -999999999..999999999, got " +
          std::to_string(options.min_value) + ".." + std::to_string(options.max_value));
  GRPO_CHECK(options.held_out >= 0 && options.held_out <= 1,
             "make_tasks: held_out: expected a share in 0..1, got " + Json(options.held_out).dump());
  GRPO_CHECK(options.count > 0 || (options.count == 0 && is_binary(options.task)),
             "make_tasks: count: expected 1 or more (0, every problem, only for addition, subtraction and " +
                 std::string("multiplication), got ") + std::to_string(options.count));
  GRPO_CHECK(options.count <= kMaxProblems, "make_tasks: count: expected at most " + std::to_string(kMaxProblems) +
                                                ", got " + std::to_string(options.count));
  GRPO_CHECK(options.task != "countdown" || options.max_value >= 1,
             "make_tasks: max_value: countdown needs numbers above 0");
  GRPO_CHECK(!options.worked || (options.task != "countdown" && options.min_value >= 0),
             "make_tasks: worked: not for countdown, nor for a min_value below 0");
}

// Distinct problems of two operands: a shuffled list of all when that is feasible, else draws without repetition.
std::vector<Problem> binary_problems(const TaskOptions& options) {
  const std::int64_t side = options.max_value - options.min_value + 1;
  const bool listable = side <= kMaxProblems / side;
  GRPO_CHECK(options.count <= (listable ? side * side : kMaxProblems) && (listable || options.count > 0),
             "make_tasks: count: " + std::to_string(options.min_value) + ".." + std::to_string(options.max_value) +
                 (listable ? " has only " + std::to_string(side * side) + " problems, got "
                           : " has too many problems for 0 (every problem), got ") +
                 std::to_string(options.count));
  std::vector<Problem> problems;
  const auto add = [&](std::int64_t index) {
    problems.push_back(
        binary_problem(options.task, options.min_value + index / side, options.min_value + index % side));
  };
  if (listable) {
    std::vector<std::int64_t> order =
        permutation(side * side, static_cast<std::uint64_t>(options.seed), 0, RandomStage::Tasks);
    if (options.count > 0) order.resize(static_cast<std::size_t>(options.count));
    std::for_each(order.begin(), order.end(), add);
    return problems;
  }
  std::unordered_set<std::int64_t> seen;
  for (std::uint64_t row = 0; problems.size() < static_cast<std::size_t>(options.count); ++row) {
    Draws draws(options.seed, row, 0);
    const std::int64_t index = draws.between(0, side - 1) * side + draws.between(0, side - 1);
    if (seen.insert(index).second) add(index);
  }
  return problems;
}

std::vector<Problem> drawn_problems(const TaskOptions& options) {
  std::vector<Problem> problems;
  std::unordered_set<std::string> seen;
  for (std::uint64_t row = 0; row < static_cast<std::uint64_t>(options.count); ++row) {
    bool found = false;
    for (std::uint64_t attempt = 0; attempt < 1000 && !found; ++attempt) {
      Draws draws(options.seed, row, attempt);
      std::optional<Problem> problem =
          options.task == "countdown" ? countdown_problem(options, draws) : chain_problem(options, draws);
      found = problem && seen.insert(question_of(*problem, options)).second;
      if (found) problems.push_back(*std::move(problem));
    }
    GRPO_CHECK(found, "make_tasks: count: found only " + std::to_string(row) + " distinct problems of " +
                          std::to_string(options.count) + " in this range");
  }
  return problems;
}

}  // namespace

TaskSplit make_tasks(const TaskOptions& options) {
  check(options);
  TaskSplit split;
  for (const Problem& problem : is_binary(options.task) ? binary_problems(options) : drawn_problems(options)) {
    (is_held_out(problem, options) ? split.held_out : split.train).push_back(row_of(problem, options));
  }
  return split;
}

}  // namespace grpo::inline GRPO_ABI
