// GRPO without the trainer: sample, score, normalise, pack, log-probs, loss, step. What Trainer does with beta 0 and
// one update a rollout; its first steps are these, bit for bit.
//
//   custom_loop run.yaml [key=value ...]      prints one JSON line a step; max_steps says how many
#include <grpo/grpo.h>

#include <cstdio>

namespace {
using namespace grpo;

double is_right(const Prompt& prompt, const Completion& completion) {
  const Segments segments = split_segments(completion.text, prompt.text, ThinkMode::Auto);
  return extract_answer(segments, std::vector<std::string>{"last_number"}) == prompt.answer ? 1.0 : 0.0;
}

// Samples every prompt's answers, scores them and sets advantages inside each group.
std::vector<RolloutGroup> roll_out(const RunConfig& config, const Sampler& sampler, const std::vector<Prompt>& prompts,
                                   std::uint64_t step) {
  std::vector<SampleRequest> requests;
  for (const Prompt& prompt : prompts)
    requests.push_back({.ids = prompt.ids,
                        .num_samples = config.grpo.num_generations,
                        .address = {.seed = config.seed, .stage = kStageTrain, .step = step, .row = prompt.row}});
  const auto answers = sampler.generate(
      requests, {.temperature = config.grpo.temperature, .max_new_tokens = config.grpo.loss.max_completion_length});
  std::vector<RolloutGroup> groups;
  std::vector<double> rewards;
  std::vector<std::int64_t> offsets = {0};
  for (std::size_t g = 0; g < prompts.size(); ++g) {
    groups.push_back({.prompt = prompts[g], .completions = answers[g]});
    for (const Completion& answer : answers[g]) rewards.push_back(is_right(prompts[g], answer));
    offsets.push_back(static_cast<std::int64_t>(rewards.size()));
  }
  const std::vector<double> weights = {1.0};
  const std::vector<double> values =
      advantages({.rewards = rewards, .weights = weights, .group_offsets = offsets}, config.grpo.advantage).advantages;
  for (std::size_t g = 0; g < groups.size(); ++g)
    groups[g].advantages.assign(values.begin() + offsets[g], values.begin() + offsets[g + 1]);
  return groups;
}

void train(const RunConfig& config) {
  set_threads(config.threads);
  const CausalLM model = CausalLM::load(config.model.path, {.dtype = config.model.dtype, .trainable = true});
  const Tokenizer tokenizer = Tokenizer::load(config.model.path);
  const Dataset data = Dataset::load(config.data.train);
  const PromptBuilder builder(tokenizer, config.data);
  const RowOrder order(data.size(), config.seed, config.data.shuffle);
  const Sampler sampler(model, &tokenizer);
  Optimizer optimizer(model.parameters(), config.optimizer, config.max_steps);
  for (std::uint64_t step = 0, row = 0; step < static_cast<std::uint64_t>(config.max_steps); ++step) {
    std::vector<Prompt> prompts;
    for (int i = 0; i < config.grpo.prompts_per_step; ++i, ++row)
      prompts.push_back(builder.build(data.row(order.row_at(row)), order.row_at(row)));
    const std::vector<RolloutGroup> groups = roll_out(config, sampler, prompts, step);
    const std::vector<PackedBatch> batches = pack(groups);
    const Denominators denominators = count_denominators(batches);  // of the whole step
    double loss = 0;
    for (const PackedBatch& batch : batches) {  // gradients add up
      const TokenLogprobs now = batch_logprobs(model, batch, config.grpo.temperature);
      const at::Tensor part = policy_loss(now.logprobs, {}, loss_batch(batch), config.grpo.loss, denominators);
      loss += part.item<double>();
      part.backward();
    }
    const Json line = Json::Object{{"step", step + 1}, {"loss", loss}, {"grad_norm", optimizer.step().grad_norm}};
    std::puts(line.dump().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    train(load_config(argc, argv));
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
