#include <fmt/format.h>
#include <grpo/train.h>

#include <atomic>
#include <csignal>

#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "train/run_folder.h"

namespace grpo::cli {
namespace {

std::atomic<int> num_signals{0};
std::atomic<bool> is_one_of_many{false};

// The first asks the run to end after the step at hand; a second ends the process at once. One rank of several has no
// time for a step, for its launcher kills soon after: it says where it is and the last checkpoint stands.
void on_signal(int signal) {
  if (is_one_of_many) {
    write_rank_status(STDERR_FILENO);
    _exit(kInterrupted);
  }
  Trainer::request_stop();
  if (num_signals.fetch_add(1) > 0) {
    log::leave_live_line();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void add_train(CLI::App& app, int& exit_code) {
  struct Options {
    std::string config;
    std::vector<std::string> overrides, allow;
    bool resume = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "trains as a run config says (kind: grpo or sft)");
  command->add_option("config", options->config, "run config, YAML or JSON")->required();
  command->add_option("overrides", options->overrides, "key=value, as grpo.beta=0 or rewards.0.weight=2");
  CLI::Option* resume = command->add_flag("--resume", options->resume, "go on from the run folder's last checkpoint");
  command
      ->add_option("--allow", options->allow,
                   "a field or section that may differ from the run's when it goes on, as optimizer.learning_rate or "
                   "data.train; may be repeated")
      ->allow_extra_args(false)
      ->needs(resume);
  command->footer("Fields of a run config:\n" + config_help());
  command->callback([options, &exit_code] {
    RunConfig run = load_config(options->config, options->overrides);
    Communicator ranks = Communicator::from_environment();
    is_one_of_many = ranks.size() > 1;
    if (ranks.rank() > 0) log::set_level(log::Level::Error);  // rank 0 tells the rest
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
    Trainer trainer(std::move(run), std::move(ranks));
    trainer.run(options->resume ? Trainer::Start::Resume : Trainer::Start::Fresh, options->allow);
    log::info(fmt::format("the run's files are in {}", RunFolder::path_of(trainer.config())));
    if (num_signals > 0) exit_code = kInterrupted;
  });
}

}  // namespace grpo::cli
