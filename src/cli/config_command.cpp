#include <cstdio>

#include <grpo/config.h>

#include "cli/commands.h"

namespace grpo::cli {

void add_config(CLI::App& app, int& /*exit_code*/) {
  CLI::App* command = app.add_subcommand("config", "about run configs");
  command->require_subcommand(1);
  command->add_subcommand("docs", "the reference page of every field, as Markdown")->callback([] {
    std::fputs(config_reference().c_str(), stdout);
  });
  command->add_subcommand("schema", "JSON Schema of a run config, for editors")->callback([] {
    std::fputs(config_schema().c_str(), stdout);
  });
}

}  // namespace grpo::cli
