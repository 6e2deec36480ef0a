// make-tasks, make-tokenizer: data and vocabularies for small models.
#include <fmt/format.h>
#include <grpo/text.h>

#include "base/files.h"
#include "base/log.h"
#include "cli/commands.h"

namespace grpo::cli {
namespace {

void write_rows(const std::string& path, const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) text += row.dump() + "\n";
  write_file_atomic(path, text);
  log::info(fmt::format("{}: {} problems", path, rows.size()));
}

}  // namespace

void add_make_tasks(CLI::App& app, int& /*exit_code*/) {
  struct Options {
    TaskOptions task;
    std::string train, held_out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("make-tasks", "writes arithmetic problems as JSONL, split by hash (commuted twins together)");
  TaskOptions& task = options->task;
  command->add_option("train", options->train, "file of the training problems")->required();
  command->add_option("held-out", options->held_out, "file of the held-out problems (empty: they are left out)");
  command->add_option("--task", task.task, "addition (default), subtraction, multiplication, chain_sum, countdown");
  command->add_option("--min", task.min_value, "smallest operand (default 0)");
  command->add_option("--max", task.max_value, "largest operand (default 99)");
  command->add_option("--count", task.count, "problems; 0: all there are (default 1000)")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", task.seed, "seed (default 0)");
  command->add_option("--held-out-share", task.held_out, "share of problems held out (default 0.1)")
      ->check(CLI::Range(0.0, 1.0));
  command->add_flag("--worked", task.worked, "also `completion`: a worked answer in <think>/<answer> form, for SFT");
  command->add_option("--format", task.format, "question text (default \"{a}{op}{b}=\")");
  command->callback([options] {
    const TaskSplit split = make_tasks(options->task);
    write_rows(options->train, split.train);
    if (!options->held_out.empty()) write_rows(options->held_out, split.held_out);
  });
}

void add_make_tokenizer(CLI::App& app, int& /*exit_code*/) {
  struct Options {
    Tokenizer::TrainOptions train;
    std::vector<std::string> columns;
    std::string data, folder, eos;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "make-tokenizer", "trains a byte-level BPE tokenizer on columns of a JSONL file; writes a tokenizer folder");
  command->add_option("data", options->data, "JSONL file")->required();
  command->add_option("folder", options->folder, "folder of tokenizer.json and tokenizer_config.json to write")
      ->required();
  command->add_option("--columns", options->columns, "columns that hold text (default: every string column)")
      ->allow_extra_args(false);
  command->add_option("--vocab-size", options->train.vocab_size, "tokens in all (default 1024)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--special", options->train.special_tokens, "special token; may be given several times, ids from 0")
      ->allow_extra_args(false);
  command->add_option("--atomic", options->train.atomic_tokens, "ordinary token that is never split, as <think>")
      ->allow_extra_args(false);
  command->add_option("--eos", options->eos, "end-of-text token, a special token of its own (id 0)");
  command->add_option("--alphabet", options->train.alphabet, "only these bytes instead of all 256");
  command->callback([options] {
    const Dataset data = Dataset::load(options->data);
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < data.size(); ++i)
      for (const auto& [key, value] : data.row(i).as_object()) {
        const bool wanted = options->columns.empty() ||
                            std::find(options->columns.begin(), options->columns.end(), key) != options->columns.end();
        if (wanted && value.is_string()) texts.push_back(value.as_string());
      }
    std::vector<std::string>& special = options->train.special_tokens;
    Json config = Json::Object{{"tokenizer_class", "PreTrainedTokenizerFast"}};
    if (!options->eos.empty()) {
      special.insert(special.begin(), options->eos);
      config["eos_token"] = options->eos;
    }
    ensure_directory(options->folder);
    write_file_atomic(options->folder + "/tokenizer.json", Tokenizer::train(texts, options->train));
    write_file_atomic(options->folder + "/tokenizer_config.json", config.dump(2) + "\n");
    log::info(fmt::format("{}: {} tokens", options->folder, Tokenizer::load(options->folder).vocab_size()));
  });
}

}  // namespace grpo::cli
