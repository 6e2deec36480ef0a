#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <grpo/model.h>

#include <numeric>

#include "cli/commands.h"
#include "cli/json_lines.h"
#include "cli/options.h"

namespace grpo::cli {
namespace {

Json logprobs_of(const CausalLM& model, const Json& row, std::int64_t num_logits) {
  TokenBatch batch;
  batch.tokens = ids_of(row.at("ids"));
  const auto n = static_cast<std::int64_t>(batch.tokens.size());
  GRPO_CHECK(n > 0, "ids: expected at least one id, got none");
  batch.sequences.push_back({0, n, -1, -1});
  const at::Tensor hidden = model.forward(batch);
  Json result = Json::Object{{"logprobs", Json::List{}}};
  if (n > 1) {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(n - 1));
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
    const at::Tensor logprobs = token_logprobs(hidden, at::tensor(rows), at::tensor(targets), model.head()).logprobs;
    for (std::int64_t i = 0; i < n - 1; ++i) result["logprobs"].push_back(double{logprobs.const_data_ptr<float>()[i]});
  }
  if (num_logits > 0) {
    const std::int64_t count = std::min(n, num_logits);
    const at::Tensor values = logits(hidden.narrow(0, n - count, count), model.head());
    Json::List positions;
    for (std::int64_t i = 0; i < count; ++i) {
      const float* first = values.const_data_ptr<float>() + i * values.size(1);
      positions.push_back(Json(std::vector<double>(first, first + values.size(1))));
    }
    result["logits"] = std::move(positions);
  }
  return result;
}

}  // namespace

void add_logprobs(CLI::App& app, int& exit_code) {
  struct Options {
    std::string model;
    DType dtype = DType::Float32;
    std::int64_t num_logits = 0;
    int threads = 0;
    bool keep_going = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "logprobs", "{\"ids\"} lines to {\"logprobs\"}: log-prob of each id after the first, at temperature 1");
  command->add_option("model", options->model, "model folder, run folder or GGUF file")->required();
  add_dtype(*command, options->dtype);
  command->add_option("--logits", options->num_logits, "also the logits of the last N positions")
      ->check(CLI::NonNegativeNumber);
  add_threads(*command, options->threads);
  command->add_flag(kKeepGoing, options->keep_going, kKeepGoingHelp);
  command->callback([options, &exit_code] {
    set_threads(options->threads);
    const CausalLM model = CausalLM::load(resolve_model_path(options->model), {.dtype = options->dtype});
    const at::NoGradGuard no_grad;
    exit_code =
        answer_rows(options->keep_going, [&](const Json& row) { return logprobs_of(model, row, options->num_logits); });
  });
}

}  // namespace grpo::cli
