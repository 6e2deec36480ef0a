#include <grpo/model.h>

#include "cli/commands.h"
#include "cli/json_lines.h"

namespace grpo::cli {

void add_tokenize(CLI::App& app, int& exit_code) {
  struct Options {
    std::string model;
    bool special = false, keep_going = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("tokenize", "{\"text\"} lines to {\"ids\", \"text\"}: token ids, and the text they decode to");
  command->add_option("model", options->model, "model folder, run folder, tokenizer.json or GGUF file")->required();
  command->add_flag("--special", options->special, "add what the post-processor adds (BOS and the like)");
  command->add_flag(kKeepGoing, options->keep_going, kKeepGoingHelp);
  command->callback([options, &exit_code] {
    const Tokenizer tokenizer = Tokenizer::load(resolve_model_path(options->model));
    exit_code = answer_rows(options->keep_going, [&](const Json& row) {
      const std::vector<std::int32_t> ids =
          tokenizer.encode(row.at("text").as_string(), {.add_special = options->special});
      return Json::Object{{"ids", ids}, {"text", tokenizer.decode(ids)}};
    });
  });
}

void add_render(CLI::App& app, int& exit_code) {
  struct Options {
    std::string model;
    bool keep_going = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "render",
      "{\"messages\", \"add_generation_prompt\", template variables} lines to {\"text\"} by the model's chat template");
  command->add_option("model", options->model, "model folder, run folder, tokenizer folder or GGUF file")->required();
  command->add_flag(kKeepGoing, options->keep_going, kKeepGoingHelp);
  command->callback([options, &exit_code] {
    const Tokenizer tokenizer = Tokenizer::load(resolve_model_path(options->model));
    GRPO_CHECK(!tokenizer.chat_template().empty(), options->model + ": the model has no chat template");
    const ChatTemplate chat(tokenizer.chat_template(), tokenizer.template_defaults(), options->model);
    exit_code = answer_rows(options->keep_going, [&](const Json& row) {
      Json variables = Json::Object{};
      for (const auto& [key, value] : row.as_object())
        if (key != "messages" && key != "add_generation_prompt") variables[key] = value;
      const Json* generation = row.find("add_generation_prompt");
      return Json::Object{{"text", chat.render(row.at("messages"), generation && generation->as_bool(), variables)}};
    });
  });
}

}  // namespace grpo::cli
