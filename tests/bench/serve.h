// How the suite (tests/bench/suite) talks to a program: one JSON line in, one JSON line out, until the input ends.
#pragma once

#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include <grpo/json.h>

namespace bench {

// The first line out, {"ready": true}, says that loading is over.
template <class Answer>
void serve(const Answer& answer) {
  const auto put = [](const grpo::Json& line) {
    std::puts(line.dump().c_str());
    std::fflush(stdout);
  };
  put(grpo::Json::Object{{"ready", true}});
  for (std::string line; std::getline(std::cin, line);) put(answer(grpo::parse_json(line, {.source = "request"})));
}

// The program's exit code.
template <class Work>
int run(const Work& work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}

inline std::int64_t int_of(const grpo::Json& request, const char* key, std::int64_t otherwise) {
  const grpo::Json* value = request.find(key);
  return value ? value->as_int() : otherwise;
}

}  // namespace bench
