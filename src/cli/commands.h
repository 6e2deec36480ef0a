// The program's subcommands: one file each; every function adds its own to the application.
#pragma once

#include <CLI/CLI.hpp>

namespace grpo::cli {

// What a command that went through has to say to the shell.
inline constexpr int kDone = 0, kFault = 1, kUserError = 2, kGuard = 3, kInterrupted = 130;

// Commands set `exit_code` when they end other than by an exception.
void add_plan(CLI::App& app, int& exit_code);
void add_train(CLI::App& app, int& exit_code);
void add_generate(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_render(CLI::App& app, int& exit_code);
void add_logprobs(CLI::App& app, int& exit_code);
void add_score(CLI::App& app, int& exit_code);
void add_loss(CLI::App& app, int& exit_code);
void add_advantages(CLI::App& app, int& exit_code);
void add_evaluate(CLI::App& app, int& exit_code);
void add_init(CLI::App& app, int& exit_code);
void add_make_tasks(CLI::App& app, int& exit_code);
void add_make_tokenizer(CLI::App& app, int& exit_code);
void add_export(CLI::App& app, int& exit_code);
void add_config(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);

}  // namespace grpo::cli
