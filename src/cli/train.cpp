#include <fmt/format.h>
#include <grpo/train.h>

#include <atomic>
#include <csignal>

#include "base/log.h"
#include "cli/commands.h"

namespace grpo::cli {
namespace {

std::atomic<int> num_signals{0};

// The first asks the run to end after the step at hand; a second ends the process at once.
void on_signal(int signal) {
  Trainer::request_stop();
  if (num_signals.fetch_add(1) > 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void add_train(CLI::App& app, int& exit_code) {
  struct Options {
    std::string config;
    std::vector<std::string> overrides;
    bool resume = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "trains as a run config says (kind: grpo or sft)");
  command->add_option("config", options->config, "run config, YAML or JSON")->required();
  command->add_option("overrides", options->overrides, "key=value, as grpo.beta=0 or rewards.0.weight=2");
  command->add_flag("--resume", options->resume, "go on from the run folder's last checkpoint");
  command->footer("Fields of a run config:\n" + config_help());
  command->callback([options, &exit_code] {
    Trainer trainer(load_config(options->config, options->overrides), Communicator::from_environment());
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
    trainer.run(options->resume ? Trainer::Start::Resume : Trainer::Start::Fresh);
    const RunConfig& config = trainer.config();
    log::info(fmt::format("the run's files are in {}",
                          config.output_dir.empty() ? "runs/" + config.name : config.output_dir));
    if (num_signals > 0) exit_code = kInterrupted;
  });
}

}  // namespace grpo::cli
