#include "cli/json_lines.h"

#include <fmt/format.h>

#include <cstdio>
#include <iostream>

#include "cli/commands.h"

namespace grpo::cli {
namespace {

// Reads the next line that is not blank; false at the end.
bool next_line(std::string& line, int& number) {
  while (std::getline(std::cin, line)) {
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string::npos) return true;
  }
  return false;
}

Json parse_row(const std::string& line, int number) {
  Json row = parse_json(line, {.source = "stdin", .first_line = number});
  GRPO_CHECK(row.is_object(), fmt::format("stdin:{}: expected a JSON object, got {}", number, line.substr(0, 40)));
  return row;
}

}  // namespace

void write_line(const Json& line) {
  const std::string text = line.dump() + "\n";
  GRPO_CHECK(std::fwrite(text.data(), 1, text.size(), stdout) == text.size(), "stdout: cannot write");
  std::fflush(stdout);
}

std::vector<InputRow> read_rows(bool keep_going) {
  std::vector<InputRow> rows;
  std::string line;
  for (int number = 0; next_line(line, number);) {
    InputRow& row = rows.emplace_back();
    try {
      row.row = parse_row(line, number);
    } catch (const Error& error) {
      if (!keep_going) throw;
      row.error = error.what();
    }
  }
  return rows;
}

int answer_rows(bool keep_going, const std::function<Json(const Json& row)>& answer) {
  int exit_code = kDone;
  std::string line;
  for (int number = 0; next_line(line, number);) {
    Json result;
    try {
      const Json row = parse_row(line, number);
      try {
        result = answer(row);
      } catch (const Error& error) {
        const std::string text = error.what();
        const std::string where = fmt::format("stdin:{}", number);
        throw Error(text.starts_with(where) ? text : where + ": " + text, error.kind());
      }
    } catch (const Error& error) {
      if (!keep_going || error.kind() != ErrorKind::User) throw;
      result = Json::Object{{"error", error.what()}};
      exit_code = kUserError;
    }
    write_line(result);
  }
  return exit_code;
}

}  // namespace grpo::cli
