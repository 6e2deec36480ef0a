// JSON lines in on stdin, JSON lines out on stdout.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <grpo/json.h>

namespace grpo::cli {

void write_line(const Json& line);

// One line of input: a row, or what is wrong with it.
struct InputRow {
  Json row;
  std::string error;
};

// All lines of stdin. A bad one throws Error with its number, or becomes an error row under `keep_going`.
std::vector<InputRow> read_rows(bool keep_going);
// Calls `answer` for each line of stdin and writes what it returns. A row's Error carries its line number; under
// `keep_going` it is written as {"error": text}; errors that are not the row's own still end the command. Returns the
// exit code.
int answer_rows(bool keep_going, const std::function<Json(const Json& row)>& answer);

// "--keep-going" on a command.
inline constexpr const char* kKeepGoing = "--keep-going";
inline constexpr const char* kKeepGoingHelp =
    "write {\"error\": text} for a bad row and go on (exit code 2 at the end)";

}  // namespace grpo::cli
