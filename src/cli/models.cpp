// init, export: model folders made and rewritten.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <grpo/model.h>

#include <map>

#include "base/files.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"

namespace grpo::cli {

void add_init(CLI::App& app, int& /*exit_code*/) {
  struct Options {
    std::string config, folder, tokenizer;
    std::int64_t seed = 42;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("init", "writes a model folder with random weights");
  command->add_option("config", options->config, "config.json of the architecture")->required();
  command->add_option("folder", options->folder, "where it goes")->required();
  command->add_option("--tokenizer", options->tokenizer, "folder or tokenizer.json whose files go along");
  command->add_option("--seed", options->seed, "seed of the weights (default 42)");
  command->callback([options] {
    const ModelConfig config = parse_model_config(parse_json(read_file(options->config), {.source = options->config}));
    std::optional<Tokenizer> tokenizer;
    if (!options->tokenizer.empty()) {
      tokenizer = Tokenizer::load(options->tokenizer);
      check_vocabulary(config, *tokenizer);
    }
    const CausalLM model = CausalLM::init(config, options->seed, {});
    model.save(options->folder, tokenizer ? &*tokenizer : nullptr, DType::Float32);
    log::info(fmt::format("{}: {} parameters", options->folder, num_parameters(config)));
  });
}

void add_export(CLI::App& app, int& /*exit_code*/) {
  struct Options {
    std::string model, target, format = "hf";
    GgufType type = GgufType::F32;
    bool best = false;
  };
  static const std::map<std::string, GgufType> kTypes = {
      {"fp32", GgufType::F32}, {"fp16", GgufType::F16}, {"bf16", GgufType::BF16}, {"q8_0", GgufType::Q8_0}};
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("export", "writes a model for other tools");
  command->add_option("model", options->model, "run folder, model folder or GGUF file")->required();
  command->add_option("target", options->target, "where it goes: a folder, or a file for gguf")->required();
  command->add_option("--format", options->format, "hf: a Hugging Face folder (default); gguf: a file for llama.cpp")
      ->check(CLI::IsMember({"hf", "gguf"}));
  command->add_option("--dtype", options->type, "type of the weights: fp32 (default), bf16; for gguf also fp16, q8_0")
      ->transform(CLI::CheckedTransformer(kTypes, CLI::ignore_case));
  command->add_flag("--best", options->best, "of a run folder the best checkpoint (eval.best), not the newest");
  command->callback([options] {
    const bool gguf = options->format == "gguf", bf16 = options->type == GgufType::BF16;
    GRPO_CHECK(gguf || bf16 || options->type == GgufType::F32,
               "--dtype: expected fp32 or bf16 with --format hf, got another one");
    const std::string path = options->best ? best_checkpoint_path(options->model) : resolve_model_path(options->model);
    const CausalLM model = CausalLM::load(path, {});
    const Tokenizer tokenizer = Tokenizer::load(path);
    if (gguf) {
      model.save_gguf(options->target, &tokenizer, options->type);
    } else {
      model.save(options->target, &tokenizer, bf16 ? DType::BFloat16 : DType::Float32);
    }
    log::info(fmt::format("{} written to {}", path, options->target));
  });
}

}  // namespace grpo::cli
