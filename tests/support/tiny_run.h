// A run that takes milliseconds: a tiny random model, a tokenizer of 40 tokens, one-digit sums and a reward that every
// answer varies in.
#pragma once

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpo/train.h>

#include "base/files.h"
#include "model/tiny_model.h"
#include "support/process.h"

namespace grpo::testing {

// <eos> is id 0. The chat template writes "role:content<eos>".
inline Tokenizer tiny_tokenizer() {
  Tokenizer::TrainOptions options;
  options.vocab_size = 40;
  options.special_tokens = {"<eos>"};
  options.atomic_tokens = {"<think>", "</think>", "<answer>", "</answer>"};
  options.alphabet = "0123456789+=: aeimnrstuvy";
  const std::vector<std::string> texts = {"user:3+4=", "assistant: 7", "nineteen + ninety = seventy"};
  const Json config = Json::Object{
      {"eos_token", "<eos>"},
      {"chat_template",
       "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:{% "
       "endif %}"}};
  return Tokenizer::from_json(Tokenizer::train(texts, options), config.dump());
}

// Eight ids more than the tokenizer has, as models that pad their vocabulary; a random model draws them too.
inline ModelConfig tiny_model_config() {
  ModelConfig config = tiny_config();
  config.vocab_size = 48;
  config.max_positions = 128;
  config.bos_id = {};
  config.eos_ids = {0};
  return config;
}

inline std::vector<std::int32_t> random_ids(int count, std::uint32_t seed) { return some_tokens(count, seed, 48); }

// Mean of (id mod 7) / 6: a score in [0, 1] that nearly every answer has to itself.
class MixedIds : public Reward {
 public:
  std::string_view name() const override { return "mixed_ids"; }
  double score(const RewardInput& input) const override {
    double sum = 0;
    for (const std::int32_t id : input.token_ids()) sum += id % 7;
    return sum / (6.0 * static_cast<double>(input.token_ids().size()));
  }
};

// A folder with model/, train.jsonl (20 sums) and the configs of runs on them.
class TinyRun {
 public:
  explicit TinyRun(double initializer_range = 0.2) {
    ModelConfig config = tiny_model_config();
    config.initializer_range = initializer_range;
    const Tokenizer tokenizer = tiny_tokenizer();
    CausalLM::init(config, 1, {}).save(path("model"), &tokenizer, DType::Float32);
    for (int i = 0; i < 20; ++i) add_row(i % 7, i % 3, "train.jsonl");
  }

  std::string path(const std::string& name) const { return folder_ / name; }

  void add_row(int a, int b, const std::string& file) const {
    const Json row = Json::Object{{"question", std::to_string(a) + "+" + std::to_string(b) + "="},
                                  {"answer", std::to_string(a + b)},
                                  {"completion", " " + std::to_string(a + b)}};
    std::ofstream(path(file), std::ios::app) << row.dump() << "\n";
  }
  void write(const std::string& file, const std::string& text) const { std::ofstream(path(file)) << text; }

  // Three prompts of four answers, at most six tokens each; the reward is the program's (add_reward).
  RunConfig grpo(int max_steps = 2) const {
    RunConfig config;
    config.name = "tiny";
    config.threads = 1;
    config.max_steps = max_steps;
    config.output_dir = path("run");
    config.model.path = path("model");
    config.data.train = path("train.jsonl");
    config.data.prompt = "question";
    config.data.template_kind = TemplateKind::Plain;
    config.grpo.num_generations = 4;
    config.grpo.prompts_per_step = 3;
    config.grpo.loss.max_completion_length = 6;
    config.grpo.loss.beta = 0;
    config.optimizer.learning_rate = 1e-2;
    return config;
  }
  RunConfig sft(int max_steps = 2) const {
    RunConfig config = grpo(max_steps);
    config.kind = RunKind::Sft;
    config.sft.batch_size = 6;
    return config;
  }

 private:
  ScratchFolder folder_;
};

inline Trainer tiny_trainer(const RunConfig& config) {
  Trainer trainer(config);
  if (config.kind == RunKind::Grpo && config.rewards.empty()) trainer.rewards().add(std::make_unique<MixedIds>());
  return trainer;
}

// Metrics that no two runs have in common.
inline bool is_time(std::string_view name) {
  return name == "step_time" || name.starts_with("time/") || name.starts_with("throughput/");
}
inline Metrics without_times(Metrics metrics) {
  std::erase_if(metrics, [](const auto& entry) { return is_time(entry.first); });
  return metrics;
}

// Logical values of every weight, copied.
inline std::vector<NamedTensor> weights_of(const CausalLM& model) {
  std::vector<NamedTensor> weights;
  for (const Parameter* parameter : model.parameters())
    weights.push_back({parameter->name, get_values(*parameter).clone()});
  return weights;
}

inline std::vector<Json> read_jsonl(const std::string& path) {
  std::vector<Json> rows;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) rows.push_back(parse_json(line));
  return rows;
}

}  // namespace grpo::testing
