// Options that several commands share.
#pragma once

#include <grpo/config.h>

#include <string>
#include <vector>

#include "cli/commands.h"

namespace grpo::cli {

void add_dtype(CLI::App& command, DType& dtype);    // --dtype fp32|bf16
void add_threads(CLI::App& command, int& threads);  // --threads N, 0: all
std::vector<std::int32_t> ids_of(const Json& list);

}  // namespace grpo::cli
