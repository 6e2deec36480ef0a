// Speed of Tokenizer::encode on one thread, in processor time; tests/bench/tokenize.py runs it beside the Rust library.
//   tokenize_bench MODEL FILE [ROUNDS]
// FILE holds texts, each closed by a NUL. A round loads the tokenizer afresh, so that it remembers no word from the
// round before. A line for each round: seconds, and two numbers that tell whether ids are equal.
#include <grpo/text.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace {

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<std::string_view> texts_of(std::string_view file) {
  std::vector<std::string_view> texts;
  while (!file.empty()) {
    const std::size_t end = std::min(file.find('\0'), file.size());
    texts.push_back(file.substr(0, end));
    file.remove_prefix(std::min(end + 1, file.size()));
  }
  return texts;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: tokenize_bench MODEL FILE [ROUNDS]\n", stderr);
    return 2;
  }
  const std::string file = grpo::read_file(argv[2]);
  const std::vector<std::string_view> texts = texts_of(file);
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 3;
  for (int round = 0; round < rounds; ++round) {
    const grpo::Tokenizer tokenizer = grpo::Tokenizer::load(argv[1]);
    std::int64_t count = 0;
    std::int64_t sum = 0;
    const double start = thread_seconds();
    for (const std::string_view text : texts) {
      const std::vector<std::int32_t> ids = tokenizer.encode(text);
      count += static_cast<std::int64_t>(ids.size());
      for (const std::int32_t id : ids) sum += id;
    }
    std::printf("%.6f %lld %lld\n", thread_seconds() - start, static_cast<long long>(count),
                static_cast<long long>(sum));
  }
}
