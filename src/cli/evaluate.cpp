#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <grpo/pipeline.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/json_lines.h"
#include "cli/options.h"

namespace grpo::cli {
namespace {

struct Options {
  std::string model, data, config;
  EvaluationOptions evaluation;
  DType dtype = DType::Float32;
  int threads = 0, samples = 0;
};

void show_progress(std::int64_t done, std::int64_t total) {
  if (isatty(STDERR_FILENO) == 1)
    std::fputs(fmt::format("\r\x1b[K{}/{} samples{}", done, total, done == total ? "\n" : "").c_str(), stderr);
}

void evaluate_model(Options& options) {
  set_threads(options.threads);
  const RunConfig config = load_config(options.config, {}, Command::Evaluate);
  const ThinkMode think_mode = config.think == "required" ? ThinkMode::Required
                               : config.think == "none"   ? ThinkMode::None
                                                          : ThinkMode::Auto;
  RewardSet rewards(config.rewards, config.data.template_kind, config.max_failure_fraction, think_mode, num_threads());
  const std::string path = resolve_model_path(options.model);
  const Tokenizer tokenizer = Tokenizer::load(path);
  const CausalLM model = CausalLM::load(path, {.dtype = options.dtype});
  check_vocabulary(model.config(), tokenizer);
  options.evaluation.max_new_tokens = config.grpo.loss.max_completion_length;
  options.evaluation.stop = config.grpo.stop;
  options.evaluation.progress = show_progress;
  const Dataset dataset = Dataset::load(options.data);
  const Evaluation result = evaluate(model, tokenizer, dataset, config.data, rewards, options.evaluation);
  for (int s = 0; s < options.samples && s < static_cast<int>(result.first_samples.size()); ++s) {
    const Evaluation::Sample& sample = result.first_samples[static_cast<std::size_t>(s)];
    log::info(fmt::format("{} => {} [{}]", sample.prompt, sample.completion, sample.score));
  }
  write_line(to_json(result));
}

}  // namespace

void add_evaluate(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("evaluate", "accuracy of a model on a task: pass@1, pass@k, majority vote, lengths");
  command->add_option("model", options->model, "model folder, run folder or GGUF file")->required();
  command->add_option("--data", options->data, "JSONL of problems")->required();
  command->add_option("--run", options->config, "run config: prompt mapping, rewards, completion length")->required();
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
  command->callback([options] { evaluate_model(*options); });
}

}  // namespace grpo::cli
