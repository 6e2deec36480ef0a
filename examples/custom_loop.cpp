// GRPO without the trainer: sample, score, normalise, pack, log-probs, loss, step. What Trainer does for
// `steps_per_generation: 1`, `num_iterations: 1`; its first steps are these, bit for bit.
//
//   custom_loop run.yaml [key=value ...]      prints one JSON line a step; max_steps says how many
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <grpo/grpo.h>

#include <cstdio>

namespace {

double short_and_right(const grpo::Prompt& prompt, const grpo::Completion& completion) {
  const grpo::Segments segments = grpo::split_segments(completion.text, prompt.text, grpo::ThinkMode::Auto);
  return grpo::extract_answer(segments) == prompt.answer ? 1.0 : 0.0;
}

// Samples every prompt's answers, scores them and sets advantages inside each group.
std::vector<grpo::RolloutGroup> roll_out(const grpo::RunConfig& config, const grpo::Sampler& sampler,
                                         std::vector<grpo::Prompt> prompts, std::uint64_t step) {
  std::vector<grpo::SampleRequest> requests;
  for (const grpo::Prompt& prompt : prompts)
    requests.push_back({prompt.ids,
                        config.grpo.num_generations,
                        {.seed = config.seed, .stage = grpo::kStageTrain, .step = step, .row = prompt.row}});
  auto answers = sampler.generate(
      requests, {.temperature = config.grpo.temperature, .max_new_tokens = config.grpo.loss.max_completion_length});
  std::vector<grpo::RolloutGroup> groups;
  std::vector<double> rewards;
  std::vector<std::int64_t> offsets = {0};
  for (std::size_t g = 0; g < prompts.size(); ++g) {
    groups.push_back({.prompt = std::move(prompts[g]), .completions = std::move(answers[g])});
    for (const grpo::Completion& answer : groups.back().completions)
      rewards.push_back(short_and_right(groups.back().prompt, answer));
    offsets.push_back(static_cast<std::int64_t>(rewards.size()));
  }
  const std::vector<double> weights = {1.0};
  const grpo::AdvantageResult result = grpo::advantages(
      {.rewards = rewards, .num_rewards = 1, .weights = weights, .group_offsets = offsets}, config.grpo.advantage);
  for (std::size_t g = 0; g < groups.size(); ++g)
    groups[g].advantages.assign(result.advantages.begin() + offsets[g], result.advantages.begin() + offsets[g + 1]);
  return groups;
}

void train(const grpo::RunConfig& config) {
  grpo::set_threads(config.threads);
  grpo::CausalLM model = grpo::CausalLM::load(config.model.path, {.dtype = config.model.dtype, .trainable = true});
  const grpo::Tokenizer tokenizer = grpo::Tokenizer::load(config.model.path);
  const grpo::Dataset data = grpo::Dataset::load(config.data.train);
  const grpo::PromptBuilder builder(tokenizer, config.data);
  const grpo::RowOrder order(data.size(), config.seed, config.data.shuffle);
  const grpo::Sampler sampler(model, &tokenizer);
  grpo::Optimizer optimizer(model.parameters(), config.optimizer, config.max_steps);
  std::uint64_t position = 0;
  for (int step = 0; step < config.max_steps; ++step) {
    std::vector<grpo::Prompt> prompts;
    for (int i = 0; i < config.grpo.prompts_per_step; ++i) {
      const std::uint64_t row = order.row_at(position++);
      prompts.push_back(builder.build(data.row(row), row));
    }
    const std::vector<grpo::RolloutGroup> groups =
        roll_out(config, sampler, std::move(prompts), static_cast<std::uint64_t>(step));
    const std::vector<grpo::PackedBatch> batches = grpo::pack(groups);
    const grpo::Denominators denominators = grpo::count_denominators(batches);
    double loss_sum = 0;
    for (const grpo::PackedBatch& batch : batches) {  // gradients add up over micro-batches
      const grpo::TokenLogprobs now = grpo::batch_logprobs(model, batch, config.grpo.temperature, true);
      const at::Tensor loss =
          grpo::policy_loss(now.logprobs, now.entropy, grpo::loss_batch(batch), config.grpo.loss, denominators);
      loss_sum += loss.item<double>();
      loss.backward();
    }
    const grpo::Optimizer::Report report = optimizer.step();
    std::puts(grpo::Json(grpo::Json::Object{{"step", step + 1}, {"loss", loss_sum}, {"grad_norm", report.grad_norm}})
                  .dump()
                  .c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    train(grpo::load_config(argc, argv));
  } catch (const grpo::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
