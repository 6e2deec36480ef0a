#include <fmt/format.h>
#include <grpo/error.h>

#include <cstdio>
#include <new>

#include "base/log.h"
#include "cli/commands.h"

namespace {

using grpo::cli::kFault;
using grpo::cli::kGuard;
using grpo::cli::kUserError;

int exit_code_of(grpo::ErrorKind kind) {
  switch (kind) {
    case grpo::ErrorKind::User:
      return kUserError;
    case grpo::ErrorKind::Internal:
      return kFault;
    case grpo::ErrorKind::Guard:
      return kGuard;
  }
  return kFault;
}

int run(int argc, char** argv) {
  CLI::App app("Trains reasoning models the way DeepSeek-R1 was trained: sample, score with rules, update (GRPO).",
               "grpo");
  app.set_version_flag("--version", GRPO_VERSION);
  app.require_subcommand(1);
  app.footer(
      "JSON lines go to stdout, everything else to stderr. Exit codes: 0 done, 1 our fault, 2 bad input, 3 stopped by "
      "a guard, "
      "130 interrupted.");
  int exit_code = grpo::cli::kDone;
  for (auto add : {grpo::cli::add_train, grpo::cli::add_plan, grpo::cli::add_generate, grpo::cli::add_evaluate,
                   grpo::cli::add_score, grpo::cli::add_logprobs, grpo::cli::add_tokenize, grpo::cli::add_render,
                   grpo::cli::add_loss, grpo::cli::add_advantages, grpo::cli::add_init, grpo::cli::add_make_tasks,
                   grpo::cli::add_make_tokenizer, grpo::cli::add_export, grpo::cli::add_config, grpo::cli::add_report,
                   grpo::cli::add_doctor})
    add(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? grpo::cli::kDone : kUserError;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const grpo::Error& error) {
    grpo::log::error(error.what());
    return exit_code_of(error.kind());
  } catch (const std::bad_alloc&) {
    grpo::log::error("out of memory");
    return kFault;
  } catch (const std::exception& error) {
    grpo::log::error(fmt::format("internal error: {}", error.what()));
    return kFault;
  }
}
