#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <grpo/pipeline.h>
#include <unistd.h>

#include <map>
#include <optional>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/json_lines.h"
#include "cli/options.h"
#include "reward/configured.h"

namespace grpo::cli {
namespace {

constexpr std::size_t kShownRows = 5;  // contaminated ones

struct Options {
  std::string model, before, data, config;
  std::vector<std::string> against;
  int ngram = 13;
  EvaluationOptions evaluation;
  DType dtype = DType::Float32;
  int threads = 0, samples = 0;
};

void show_progress(std::int64_t done, std::int64_t total) {
  if (isatty(STDERR_FILENO) == 1)
    std::fputs(fmt::format("\r\x1b[K{}/{} samples{}", done, total, done == total ? "\n" : "").c_str(), stderr);
}

// The held-out rows that stand in a training file too; the first few are named on stderr.
std::vector<std::size_t> contaminated(const Dataset& held_out, const Options& options, const DataSection& data) {
  std::map<std::size_t, ContaminatedRow> found;
  for (const std::string& path : options.against)
    for (ContaminatedRow& row : contaminated_rows(held_out, Dataset::load(path), data, options.ngram))
      found.try_emplace(row.row, std::move(row));
  std::vector<std::size_t> rows;
  for (const auto& [index, row] : found) {
    if (rows.size() < kShownRows)
      log::warn(printable(fmt::format("{}:{}: left out, {} has it too: \"{}\"", held_out.source(),
                                      held_out.row(index).line(), row.found_in, row.shared)));
    rows.push_back(index);
  }
  if (!options.against.empty())
    log::info(
        fmt::format("{}: {} of {} problems are in the training data", held_out.source(), rows.size(), held_out.size()));
  GRPO_CHECK(rows.size() < held_out.size(),
             fmt::format("{}: all {} problems are in the training data (--ngram {}; where all problems have words in "
                         "common, a number above the length of a problem compares whole problems)",
                         held_out.source(), rows.size(), options.ngram));
  return rows;
}

Evaluation evaluate_model(const std::string& path, const Dataset& dataset, const RunConfig& config, RewardSet& rewards,
                          const Options& options) {
  const Tokenizer tokenizer = Tokenizer::load(path);
  const CausalLM model = CausalLM::load(path, {.dtype = options.dtype});
  check_vocabulary(model.config(), tokenizer);
  return evaluate(model, tokenizer, dataset, config.data, rewards, options.evaluation);
}

void print_table(const Evaluation& before, const Evaluation& after, const Comparison& change) {
  const auto row = [](const std::string& name, double from, double to, const std::string& unit, double by,
                      const std::string& error) {
    fmt::print(stderr, "{:<14}{:>8.1f}{}{:>10.1f}{}{:>+11.1f}{}\n", name, from, unit, to, unit, by, error);
  };
  const auto share = [&](const std::string& name, double from, double to) {
    row(name, 100 * from, 100 * to, " %", 100 * (to - from), "");
  };
  fmt::print(stderr, "{:<14}{:>10}{:>12}{:>11}\n", "", "before", "after", "change");
  row("pass@1", 100 * before.pass_at_1, 100 * after.pass_at_1, " %", 100 * change.difference,
      fmt::format(" +- {:.1f}", 100 * change.standard_error));
  share(fmt::format("pass@{}", after.k), before.pass_at_k, after.pass_at_k);
  share(fmt::format("cons@{}", after.k), before.cons_at_k, after.cons_at_k);
  row("mean length", before.mean_length, after.mean_length, "  ", after.mean_length - before.mean_length, "");
  share("truncated", before.truncated, after.truncated);
  fmt::print(stderr, "of {} problems {} got better, {} worse, {} stayed; sign test p = {:.2g}\n", change.n,
             change.better, change.worse, change.n - change.better - change.worse, change.p_value);
}

void run(Options& options) {
  set_threads(options.threads);
  const RunConfig config = load_config(options.config, {}, Command::Evaluate);
  RewardSet rewards = configured_rewards(config, num_threads());
  const std::string path = resolve_model_path(options.model);
  const std::string before_path = options.before.empty() ? "" : resolve_model_path(options.before);
  const Dataset dataset = Dataset::load(options.data);
  options.evaluation.max_new_tokens = config.grpo.loss.max_completion_length;
  options.evaluation.stop = config.grpo.stop;
  options.evaluation.progress = show_progress;
  options.evaluation.leave_out = contaminated(dataset, options, config.data);
  std::optional<Evaluation> before;
  if (!before_path.empty()) before = evaluate_model(before_path, dataset, config, rewards, options);
  const Evaluation result = evaluate_model(path, dataset, config, rewards, options);
  for (int s = 0; s < options.samples && s < static_cast<int>(result.first_samples.size()); ++s) {
    const Evaluation::Sample& sample = result.first_samples[static_cast<std::size_t>(s)];
    log::info(fmt::format("{} => {} [{}]", sample.prompt, sample.completion, sample.score));
  }
  Json line = to_json(result);
  if (!options.against.empty()) line["contaminated"] = result.left_out;
  if (before) {
    const Comparison change = compare(*before, result);
    print_table(*before, result, change);
    line["before"] = to_json(*before);
    line["change"] = to_json(change);
  }
  write_line(line);
}

}  // namespace

void add_evaluate(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("evaluate", "accuracy of a model on a task: pass@1, pass@k, majority vote, lengths");
  command->add_option("model", options->model, "model folder, run folder or GGUF file")->required();
  command->add_option("--data", options->data, "JSONL of problems")->required();
  command->add_option("--run", options->config, "run config: prompt mapping, rewards, completion length")->required();
  command->add_option("--before", options->before,
                      "another model to compare with, on the same problems with the same random numbers");
  CLI::Option* against =
      command
          ->add_option("--against", options->against,
                       "JSONL of training data; problems that share N words in a row with it are left out; may be "
                       "given several times")
          ->allow_extra_args(false);
  command->add_option("--ngram", options->ngram, "N of --against (default 13); shorter problems are compared whole")
      ->check(CLI::PositiveNumber)
      ->needs(against);
  command->add_option("-k", options->evaluation.k, "draws per problem (default 16)")->check(CLI::PositiveNumber);
  command->add_option("--temperature", options->evaluation.temperature, "default 1; 0 with -k 1: greedy")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--seed", options->evaluation.seed, "seed (default 42)");
  command->add_option("--max-prompts", options->evaluation.max_prompts, "only the first N problems; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--reward", options->evaluation.reward,
                      "reward that decides what is right: score 1 (default: the first)");
  command->add_option("--samples", options->samples, "show the first answers on stderr")->check(CLI::NonNegativeNumber);
  add_dtype(*command, options->dtype);
  add_threads(*command, options->threads);
  command->callback([options] { run(*options); });
}

}  // namespace grpo::cli
