#include <ATen/core/Tensor.h>
#include <grpo/train.h>

#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/json_lines.h"
#include "cli/options.h"

namespace grpo::cli {
namespace {

// A model folder, a GGUF file or a config.json; anything else is a run config.
bool is_model(const std::string& path) {
  if (std::filesystem::is_directory(path)) return true;
  if (path.ends_with(".json")) return load_tree(path).find("model_type") != nullptr;
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  return file.read(magic, sizeof magic) && std::string_view(magic, sizeof magic) == "GGUF";
}

}  // namespace

void add_plan(CLI::App& app, int& /*exit_code*/) {
  struct Options {
    std::string path;
    std::vector<std::string> overrides;
    DType dtype = DType::Float32;
    int ranks = 1, machines = 1;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "plan", "parameters, cache and FLOPs of a model; of a run also batches, tokens and memory. Touches no weight");
  command->add_option("path", options->path, "run config, model folder, run folder, GGUF file or config.json")
      ->required();
  command->add_option("overrides", options->overrides, "key=value, for a run config");
  add_dtype(*command, options->dtype);
  command->add_option("--ranks", options->ranks, "of a run: as many processes share it")->check(CLI::Range(1, 65536));
  command->add_option("--machines", options->machines, "like this one, that the ranks are spread over")
      ->check(CLI::Range(1, 65536));
  command->callback([command, options] {
    if (is_model(options->path)) {
      GRPO_CHECK(options->overrides.empty(),
                 "plan: " + options->path + " is a model; only a run config has keys to override");
      GRPO_CHECK(options->ranks == 1 && options->machines == 1,
                 "plan: " + options->path + " is a model; --ranks and --machines are for a run config");
      write_line(plan_model(load_model_config(resolve_model_path(options->path)), options->dtype));
    } else {
      GRPO_CHECK(command->count("--dtype") == 0, "plan: a run config has its own; write model.dtype=bf16");
      write_line(plan_run(load_config(options->path, options->overrides), options->ranks, options->machines));
    }
  });
}

}  // namespace grpo::cli
