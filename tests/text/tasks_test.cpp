#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include <grpo/text.h>
#include <gtest/gtest.h>

namespace grpo::inline GRPO_ABI {
namespace {

std::pair<std::int64_t, std::int64_t> unordered(const Json& row) {
  return std::minmax(row.at("a").as_int(), row.at("b").as_int());
}

std::vector<Json> all_rows(const TaskSplit& split) {
  std::vector<Json> rows = split.train;
  rows.insert(rows.end(), split.held_out.begin(), split.held_out.end());
  return rows;
}

TEST(MakeTasks, EveryAdditionOnceAndTwinsOnOneSide) {
  TaskOptions options;
  options.count = 0;
  options.max_value = 99;
  const TaskSplit split = make_tasks(options);
  ASSERT_EQ(split.train.size() + split.held_out.size(), 10'000u);
  std::set<std::string> questions;
  for (const Json& row : all_rows(split)) {
    questions.insert(row.at("question").as_string());
    const std::int64_t a = row.at("a").as_int();
    const std::int64_t b = row.at("b").as_int();
    ASSERT_EQ(row.at("question").as_string(), std::to_string(a) + "+" + std::to_string(b) + "=");
    ASSERT_EQ(row.at("answer").as_string(), std::to_string(a + b));
  }
  EXPECT_EQ(questions.size(), 10'000u);
  std::set<std::pair<std::int64_t, std::int64_t>> train;
  for (const Json& row : split.train) train.insert(unordered(row));
  for (const Json& row : split.held_out) EXPECT_EQ(train.count(unordered(row)), 0u);
  // 5050 unordered pairs, each held out with probability 0.1: sigma of the rows is at most 2 sqrt(5050 * 0.09) = 43.
  EXPECT_NEAR(static_cast<double>(split.held_out.size()), 1000, 5 * 43);
}

TEST(MakeTasks, TheSplitIsFrozen) {
  TaskOptions options;
  options.count = 0;
  options.max_value = 9;
  options.held_out = 0.3;
  std::set<std::pair<std::int64_t, std::int64_t>> held_out;
  for (const Json& row : make_tasks(options).held_out) held_out.insert(unordered(row));
  std::string text;
  for (const auto& [a, b] : held_out) text += std::to_string(a) + "+" + std::to_string(b) + " ";
  EXPECT_EQ(text, "0+0 0+5 0+8 0+9 1+6 2+2 2+4 3+5 3+8 3+9 4+4 4+5 5+7 5+8 7+8 9+9 ");
  options.seed = 5;  // a seed orders and draws, it does not split
  for (const Json& row : make_tasks(options).held_out) EXPECT_EQ(held_out.count(unordered(row)), 1u);
  options.task = "multiplication";
  for (const Json& row : make_tasks(options).held_out) EXPECT_EQ(held_out.count(unordered(row)), 1u);
}

TEST(MakeTasks, IsAFunctionOfItsOptions) {
  for (const char* task : {"addition", "subtraction", "multiplication", "chain_sum", "countdown"}) {
    TaskOptions options;
    options.task = task;
    options.count = 50;
    const TaskSplit first = make_tasks(options);
    const TaskSplit again = make_tasks(options);
    EXPECT_EQ(first.train, again.train) << task;
    EXPECT_EQ(first.held_out, again.held_out) << task;
    EXPECT_EQ(first.train.size() + first.held_out.size(), 50u) << task;
    options.seed = 1;
    EXPECT_NE(make_tasks(options).train, first.train) << task;
  }
}

TEST(MakeTasks, DrawsFromRangesTooLargeToList) {
  TaskOptions options;
  options.task = "subtraction";
  options.min_value = -1'000'000;
  options.max_value = 999'999'999;
  options.count = 200;
  std::set<std::string> questions;
  for (const Json& row : all_rows(make_tasks(options))) {
    questions.insert(row.at("question").as_string());
    EXPECT_EQ(row.at("answer").as_string(), std::to_string(row.at("a").as_int() - row.at("b").as_int()));
  }
  EXPECT_EQ(questions.size(), 200u);
}

TEST(MakeTasks, WorkedAdditionGoesByColumns) {
  TaskOptions options;
  options.count = 0;
  options.worked = true;
  std::map<std::string, std::string> completions;
  for (const Json& row : all_rows(make_tasks(options))) {
    completions[row.at("question").as_string()] = row.at("completion").as_string();
  }
  EXPECT_EQ(completions.at("47+85="), "<think>7+5+0=12;4+8+1=13;</think><answer>132</answer>");
  EXPECT_EQ(completions.at("3+4="), "<think>3+4+0=07;</think><answer>7</answer>");
  EXPECT_EQ(completions.at("0+10="), "<think>0+0+0=00;0+1+0=01;</think><answer>10</answer>");
  for (const auto& [question, completion] : completions) {
    const std::size_t end = completion.find("</think>");
    const std::string thinking = completion.substr(7, end - 7);
    ASSERT_EQ(thinking.find_first_not_of("0123456789+=;"), std::string::npos) << thinking;
    std::string digits;  // the last digit of each column, from the right, behind the last carry
    for (std::size_t at = thinking.find(';'); at != std::string::npos; at = thinking.find(';', at + 1)) {
      digits.insert(digits.begin(), thinking[at - 1]);
    }
    digits.insert(digits.begin(), thinking[thinking.size() - 3]);
    ASSERT_EQ(completion.substr(end + 8), "<answer>" + std::to_string(std::stoi(digits)) + "</answer>") << question;
  }
}

TEST(MakeTasks, OtherWorkedAnswers) {
  const auto completion = [](const std::string& task, const std::string& question) -> std::string {
    TaskOptions options;
    options.task = task;
    options.count = 0;
    options.worked = true;
    for (const Json& row : all_rows(make_tasks(options))) {
      if (row.at("question").as_string() == question) return row.at("completion").as_string();
    }
    return "";
  };
  EXPECT_EQ(completion("subtraction", "52-17="), "<think>2-7-0=15;5-1-1=03;</think><answer>35</answer>");
  EXPECT_EQ(completion("subtraction", "3-15="), "<think>5-3-0=02;1-0-0=01;</think><answer>-12</answer>");
  EXPECT_EQ(completion("multiplication", "12*34="), "<think>12*4=48;12*30=360;48+360=408;</think><answer>408</answer>");
  EXPECT_EQ(completion("multiplication", "7*0="), "<think>7*0=0;</think><answer>0</answer>");
}

TEST(MakeTasks, ChainSumsAddUp) {
  TaskOptions options;
  options.task = "chain_sum";
  options.count = 100;
  options.worked = true;
  for (const Json& row : all_rows(make_tasks(options))) {
    const std::string question = row.at("question").as_string();
    std::int64_t sum = 0;
    std::size_t terms = 0;
    for (std::size_t at = 0; question[at] != '='; ++terms) {
      std::size_t used = 0;
      sum += std::stoll(question.substr(at), &used);  // takes the sign along
      at += used;
    }
    EXPECT_EQ(row.at("answer").as_string(), std::to_string(sum)) << question;
    EXPECT_EQ(terms, row.at("terms").size());
    EXPECT_GE(terms, 3u);
    EXPECT_NE(row.at("completion").as_string().find("=" + row.at("answer").as_string() + ";</think>"),
              std::string::npos);
  }
}

// The value of a fully parenthesised expression; collects its numbers.
double value_of(const std::string& text, std::size_t& at, std::multiset<std::int64_t>& numbers) {
  const auto operand = [&]() -> double {
    if (text[at] == '(') {
      ++at;
      const double value = value_of(text, at, numbers);
      ++at;
      return value;
    }
    std::size_t used = 0;
    const std::int64_t number = std::stoll(text.substr(at), &used);
    at += used;
    numbers.insert(number);
    return static_cast<double>(number);
  };
  const double left = operand();
  const char symbol = text[at++];
  const double right = operand();
  return symbol == '+' ? left + right : symbol == '-' ? left - right : symbol == '*' ? left * right : left / right;
}

TEST(MakeTasks, CountdownTargetsAreReachable) {
  TaskOptions options;
  options.task = "countdown";
  options.min_value = 1;
  options.max_value = 50;
  options.count = 200;
  std::set<char> symbols;
  for (const Json& row : all_rows(make_tasks(options))) {
    const std::string solution = row.at("solution").as_string();
    std::multiset<std::int64_t> used;
    std::multiset<std::int64_t> given;
    for (const Json& number : row.at("numbers").as_list()) given.insert(number.as_int());
    std::size_t at = 0;
    EXPECT_EQ(value_of(solution, at, used), static_cast<double>(row.at("target").as_int())) << solution;
    EXPECT_EQ(at, solution.size());
    EXPECT_EQ(used, given) << solution;
    EXPECT_EQ(row.at("answer").as_string(), std::to_string(row.at("target").as_int()));
    for (const char c : solution) {
      if (std::ispunct(static_cast<unsigned char>(c)) && c != '(' && c != ')') symbols.insert(c);
    }
  }
  EXPECT_EQ(symbols, (std::set<char>{'*', '+', '-', '/'}));
}

TEST(MakeTasks, FormatsQuestions) {
  TaskOptions options;
  options.count = 1;
  options.min_value = options.max_value = 5;
  options.format = "What is {a} {op} {b}?";
  EXPECT_EQ(all_rows(make_tasks(options))[0].at("question").as_string(), "What is 5 + 5?");
  options.format = "What?";
  EXPECT_THROW(make_tasks(options), Error);
  options.task = "countdown";
  options.max_value = 9;
  options.format = "{numbers} -> {target}";
  EXPECT_NE(all_rows(make_tasks(options))[0].at("question").as_string().find(" -> "), std::string::npos);
}

TEST(MakeTasks, RefusesOptionsThatCannotAct) {
  const auto refuses = [](auto change) {
    TaskOptions options;
    change(options);
    EXPECT_THROW(make_tasks(options), Error);
  };
  refuses([](TaskOptions& o) { o.task = "division"; });
  refuses([](TaskOptions& o) { o.min_value = 5, o.max_value = 4; });
  refuses([](TaskOptions& o) { o.max_value = std::int64_t{1} << 40; });
  refuses([](TaskOptions& o) { o.count = -1; });
  refuses([](TaskOptions& o) { o.max_value = 3, o.count = 17; });           // only 16 problems
  refuses([](TaskOptions& o) { o.max_value = 999'999'999, o.count = 0; });  // too many to list
  refuses([](TaskOptions& o) { o.held_out = 1.5; });
  refuses([](TaskOptions& o) { o.held_out = std::nan(""); });
  refuses([](TaskOptions& o) { o.task = "chain_sum", o.count = 0; });
  refuses([](TaskOptions& o) { o.task = "countdown", o.worked = true; });
  refuses([](TaskOptions& o) { o.min_value = -5, o.worked = true; });
  refuses([](TaskOptions& o) { o.task = "countdown", o.min_value = o.max_value = 1; });  // few distinct problems
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
