#include "cli/options.h"

#include <fmt/format.h>

#include <limits>

namespace grpo::cli {

void add_dtype(CLI::App& command, DType& dtype) {
  static const std::map<std::string, DType> kNames = {{"fp32", DType::Float32}, {"bf16", DType::BFloat16}};
  command.add_option("--dtype", dtype, "compute type: fp32 (default) or bf16")
      ->transform(CLI::CheckedTransformer(kNames));
}

void add_threads(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "threads; 0: all that the process may use")->check(CLI::NonNegativeNumber);
}

std::vector<std::int32_t> ids_of(const Json& list) {
  std::vector<std::int32_t> ids;
  for (const Json& id : list.as_list()) {
    const std::int64_t value = id.as_int();
    GRPO_CHECK(value >= 0 && value <= std::numeric_limits<std::int32_t>::max(),
               fmt::format("ids: expected a token id, got {}", value));
    ids.push_back(static_cast<std::int32_t>(value));
  }
  return ids;
}

}  // namespace grpo::cli
