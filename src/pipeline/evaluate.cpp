#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <unordered_set>

#include <grpo/pipeline.h>

#include "pipeline/summary.h"
#include "train/rollouts.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::size_t deciding_reward(const RewardSet& rewards, const std::string& name) {
  GRPO_CHECK(rewards.size() > 0, "evaluate: expected at least one reward, got none");
  for (std::size_t k = 0; k < rewards.size(); ++k)
    if (name.empty() || rewards.name(k) == name) return k;
  throw Error(fmt::format("evaluate: no reward is called \"{}\"", name));
}

}  // namespace

Evaluation evaluate(const CausalLM& model, const Tokenizer& tokenizer, const Dataset& dataset, const DataSection& data,
                    RewardSet& rewards, const EvaluationOptions& options) {
  GRPO_CHECK(options.k >= 1, fmt::format("evaluate: expected k >= 1, got {}", options.k));
  const std::size_t reward = deciding_reward(rewards, options.reward);
  const Player player{model, tokenizer, rewards};
  std::vector<Prompt> prompts =
      load_prompts(player, data, dataset, options.max_new_tokens, options.max_prompts).prompts;
  const std::unordered_set<std::uint64_t> leave_out(options.leave_out.begin(), options.leave_out.end());
  const auto num_left_out = static_cast<std::int64_t>(
      std::erase_if(prompts, [&](const Prompt& prompt) { return leave_out.count(prompt.row) > 0; }));
  GRPO_CHECK(!prompts.empty(), fmt::format("evaluate: each of the {} prompts is to be left out", num_left_out));
  SampleAndScore request;
  for (const Prompt& prompt : prompts) request.prompts.push_back(&prompt);
  request.num_generations = options.k;
  request.sampling.temperature = options.temperature;
  request.sampling.max_new_tokens = options.max_new_tokens;
  request.sampling.stop = options.stop;
  request.sampling.cache_tokens = options.cache_tokens;
  if (options.progress)
    request.sampling.progress = [&](std::int64_t done, std::int64_t total, std::int64_t) {
      options.progress(done, total);
    };
  request.seed = options.seed;
  request.stage = kStageEval;
  request.is_evaluation = true;
  request.is_first = true;
  const at::NoGradGuard no_grad;
  std::vector<RolloutGroup> groups = sample_and_score(player, request);
  std::erase_if(groups, [&](const RolloutGroup& group) { return group.absent[reward] != 0; });
  GRPO_CHECK(!groups.empty(), fmt::format("evaluate: reward {} applies to none of the prompts", rewards.name(reward)));

  Evaluation result = summarise(groups, rewards, reward, request);
  result.left_out = num_left_out;
  return result;
}

Json to_json(const Evaluation& evaluation) {
  return Json::Object{{"n", evaluation.n},
                      {"k", evaluation.k},
                      {"pass@1", evaluation.pass_at_1},
                      {"stderr", evaluation.standard_error},
                      {"pass@k", evaluation.pass_at_k},
                      {"cons@k", evaluation.cons_at_k},
                      {"mean_length", evaluation.mean_length},
                      {"truncated", evaluation.truncated}};
}

}  // namespace grpo::inline GRPO_ABI
