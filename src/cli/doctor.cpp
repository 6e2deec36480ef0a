#include <link.h>

#include <cstdio>
#include <set>
#include <string>
#include <string_view>

#include <ATen/Version.h>
#include <grpo/json.h>
#include <grpo/ops.h>
#include <grpo/plugin_abi.h>

#include "cli/commands.h"
#include "dist/mpi.h"
#include "kernels/isa.h"
#include "reward/worker_process.h"
#include "train/environment.h"

namespace grpo::cli {
namespace {

// Files of the shared libraries in this process whose names begin so.
std::set<std::string> loaded_files(std::string_view prefix) {
  std::set<std::string> files;
  const auto add = [](dl_phdr_info* info, std::size_t, void* all) {
    static_cast<std::set<std::string>*>(all)->insert(info->dlpi_name);
    return 0;
  };
  dl_iterate_phdr(add, &files);
  std::erase_if(files, [prefix](const std::string& file) {
    return !std::string_view(file).substr(file.rfind('/') + 1).starts_with(prefix);
  });
  return files;
}

Json openmp() {
  Json::List files;
  for (const char* runtime : {"libgomp", "libomp", "libiomp"})
    for (const std::string& file : loaded_files(runtime)) files.push_back(file);
  Json report = Json::Object{{"version", at::get_openmp_version()}, {"files", files}};
  if (files.size() > 1) report["warning"] = "more than one OpenMP runtime: their threads stand in each other's way";
  return report;
}

// Used, or why not.
Json instruction_sets() {
  Json report;
  const std::string used = isa_name();
  for (const kernels::Isa isa : kernels::kIsas) {
    const std::string name = kernels::name(isa), lacks = kernels::isa_lacks(isa);
    report[name] = name == used    ? "used"
                   : lacks.empty() ? "runs here, not used: " + used + " does too and is faster"
                                   : "not used: this machine lacks " + lacks;
  }
  return report;
}

Json mpi() {
  try {
    return mpi_version();
  } catch (const Error& error) {
    return "not available: " + std::string(error.what());
  }
}

Json reward_worker() {
  try {
    return find_worker_program();
  } catch (const Error& error) {
    return "not found: " + std::string(error.what());
  }
}

}  // namespace

void add_doctor(CLI::App& app, int& /*exit_code*/) {
  app.add_subcommand("doctor", "what this build and this machine have, as JSON")
      ->footer(
          "Keys: grpo (version), abi, build_type, compiler, library (linked how); libtorch (version), libtorch_file, "
          "openmp;\n"
          "kernels (instruction set that they use), instruction_sets (why the others are not used); cpu, cpus, "
          "threads,\n"
          "memory_bytes, available_memory_bytes, os; cuda, mpi, nccl (or why not), plugin_abi, reward_worker (program "
          "for\n"
          "`isolation: process`, or why none).")
      ->callback([] {
        const std::set<std::string> libtorch = loaded_files("libtorch_cpu."), shared = loaded_files("libgrpo.");
        Json report = environment();
        report["library"] = shared.empty() ? "static" : "shared: " + *shared.begin();
        report["libtorch_file"] = libtorch.empty() ? Json() : Json(*libtorch.begin());
        report["openmp"] = openmp();
        report["instruction_sets"] = instruction_sets();
        report["cuda"] = "not in this build: no CUDA kernels yet";
        report["mpi"] = mpi();
        report["nccl"] = "not in this build";
        report["plugin_abi"] = static_cast<std::int64_t>(GRPO_PLUGIN_ABI);
        report["reward_worker"] = reward_worker();
        std::fputs((report.dump(2) + "\n").c_str(), stdout);
      });
}

}  // namespace grpo::cli
