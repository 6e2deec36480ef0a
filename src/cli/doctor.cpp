#include <ATen/Version.h>
#include <fmt/format.h>
#include <grpo/json.h>
#include <grpo/ops.h>
#include <torch/headeronly/version.h>

#include <cstdio>

#include "cli/commands.h"

namespace grpo::cli {

void add_doctor(CLI::App& app, int& /*exit_code*/) {
  app.add_subcommand("doctor", "what this build and this machine have, as JSON")->callback([] {
    const Json report = Json::Object{
        {"grpo", GRPO_VERSION},
        {"libtorch", TORCH_VERSION},
        {"compiler", __VERSION__},
        {"kernels", isa_name()},
        {"threads", num_threads()},
        {"cuda", "not in this build: no CUDA kernels yet"},
        {"mpi", "not in this build: one process only"},
        {"nccl", "not in this build: one process only"},
    };
    std::fputs((report.dump(2) + "\n").c_str(), stdout);
  });
}

}  // namespace grpo::cli
