#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <grpo/rollout.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/json_lines.h"
#include "cli/options.h"

namespace grpo::cli {
namespace {

struct Options {
  std::string model;
  DType dtype = DType::Float32;
  SamplerOptions sampling;
  int num_generations = 1;
  std::int64_t seed = 42;
  int threads = 0;
  bool keep_going = false;
};

// Ids of {"prompt"}, {"messages"} or {"ids"}.
std::vector<std::int32_t> prompt_ids(const Json& row, const Tokenizer& tokenizer, const ChatTemplate* chat) {
  const int given = (row.find("prompt") != nullptr) + (row.find("messages") != nullptr) + (row.find("ids") != nullptr);
  GRPO_CHECK(given == 1, fmt::format("{}: expected one of \"prompt\", \"messages\" and \"ids\"", row.where()));
  if (const Json* ids = row.find("ids")) {
    const std::vector<std::int32_t> list = ids_of(*ids);
    GRPO_CHECK(!list.empty(), fmt::format("{}: ids: expected at least one id, got none", row.where()));
    return list;
  }
  if (const Json* prompt = row.find("prompt")) {
    const std::vector<std::int32_t> list = tokenizer.encode(prompt->as_string(), {.add_special = true});
    GRPO_CHECK(!list.empty(), fmt::format("{}: the prompt has no tokens", row.where()));
    return list;
  }
  GRPO_CHECK(chat, fmt::format("{}: \"messages\": the model has no chat template", row.where()));
  Json variables = Json::Object{};
  for (const auto& [key, value] : row.as_object())
    if (key != "messages") variables[key] = value;
  return tokenizer.encode(chat->render(row.at("messages"), true, variables));
}

void show_progress(std::int64_t finished, std::int64_t total, std::int64_t tokens) {
  if (isatty(STDERR_FILENO) != 1) return;
  std::fputs(
      fmt::format("\r\x1b[K{}/{} samples, {} tokens{}", finished, total, tokens, finished == total ? "\n" : "").c_str(),
      stderr);
}

int generate(Options& options) {
  set_threads(options.threads);
  const std::string path = resolve_model_path(options.model);
  const Tokenizer tokenizer = Tokenizer::load(path);
  const CausalLM model = CausalLM::load(path, {.dtype = options.dtype});
  check_vocabulary(model.config(), tokenizer);
  std::unique_ptr<ChatTemplate> chat;
  if (!tokenizer.chat_template().empty())
    chat = std::make_unique<ChatTemplate>(tokenizer.chat_template(), tokenizer.template_defaults(), path);

  std::vector<InputRow> rows = read_rows(options.keep_going);
  std::vector<SampleRequest> requests;
  std::vector<std::size_t> row_of;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].error.empty()) continue;
    try {
      SampleRequest request;
      request.ids = prompt_ids(rows[r].row, tokenizer, chat.get());
      const std::int64_t context = model.config().max_positions;
      GRPO_CHECK(static_cast<std::int64_t>(request.ids.size()) < context,
                 fmt::format("{}: the prompt has {} tokens, the model's context {}", rows[r].row.where(),
                             request.ids.size(), context));
      request.num_samples = options.num_generations;
      request.address = {.seed = options.seed, .stage = kStageGenerate, .step = 0, .row = r, .occurrence = 0};
      requests.push_back(std::move(request));
      row_of.push_back(r);
    } catch (const Error& error) {
      if (!options.keep_going || error.kind() != ErrorKind::User) throw;
      rows[r].error = error.what();
    }
  }
  options.sampling.progress = show_progress;
  const at::NoGradGuard no_grad;
  const auto completions = Sampler(model, &tokenizer).generate(requests, options.sampling);

  int exit_code = kDone;
  std::size_t next = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].error.empty()) {
      write_line(Json::Object{{"error", rows[r].error}});
      exit_code = kUserError;
      continue;
    }
    for (std::size_t s = 0; s < completions[next].size(); ++s) {
      const Completion& completion = completions[next][s];
      write_line(Json::Object{{"row", r},
                              {"sample", s},
                              {"text", completion.text},
                              {"ids", completion.ids},
                              {"logprobs", std::vector<double>(completion.logprobs.begin(), completion.logprobs.end())},
                              {"finish_reason", to_string(completion.finish_reason)}});
    }
    ++next;
  }
  return exit_code;
}

}  // namespace

void add_generate(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("generate", "answers to {\"prompt\"}, {\"messages\"} or {\"ids\"} lines, one line a sample");
  command->add_option("model", options->model, "model folder, run folder or GGUF file")->required();
  SamplerOptions& sampling = options->sampling;
  command->add_option("--temperature", sampling.temperature, "1: the model's own distribution (default); 0: greedy")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--top-p", sampling.top_p, "keep the likeliest tokens up to this mass; 1: off")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--top-k", sampling.top_k, "keep the K likeliest tokens; 0: off")->check(CLI::NonNegativeNumber);
  command->add_option("--min-p", sampling.min_p, "drop tokens below this share of the likeliest; 0: off")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--max-new-tokens", sampling.max_new_tokens, "length limit (default 512)")
      ->check(CLI::PositiveNumber);
  command->add_option("--num-generations", options->num_generations, "samples per line (default 1)")
      ->check(CLI::PositiveNumber);
  command->add_option("--seed", options->seed,
                      "seed (default 42); a sample depends on it, its row and its index alone");
  command->add_option("--stop", sampling.stop, "stop string; may be given several times")->allow_extra_args(false);
  command->add_flag("--ignore-eos", sampling.ignore_eos, "stop tokens are ordinary tokens");
  command
      ->add_option("--cache-tokens", sampling.cache_tokens, "bound on cached tokens of live sequences (default 65536)")
      ->check(CLI::PositiveNumber);
  add_dtype(*command, options->dtype);
  add_threads(*command, options->threads);
  command->add_flag(kKeepGoing, options->keep_going, kKeepGoingHelp);
  command->callback([options, &exit_code] { exit_code = generate(*options); });
}

}  // namespace grpo::cli
