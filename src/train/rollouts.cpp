#include "train/rollouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "base/log.h"
#include "reward/text_measures.h"
#include "train/ranks.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::vector<SampleRequest> sample_requests(const SampleAndScore& request) {
  std::vector<SampleRequest> requests;
  std::unordered_map<std::uint64_t, std::uint64_t> seen;
  for (const Prompt* prompt : request.prompts)
    requests.push_back({prompt->ids, request.num_generations,
                        SampleAddress{.seed = request.seed,
                                      .stage = request.stage,
                                      .step = static_cast<std::uint64_t>(request.step),
                                      .row = prompt->row,
                                      .occurrence = seen[prompt->row]++}});
  return requests;
}

std::vector<std::vector<Completion>> sample(const Player& player, const std::vector<SampleRequest>& requests,
                                            SamplerOptions options) {
  Phase sampling(player.phases, "sampling");
  if (player.phases != nullptr)
    options.progress = [&](std::int64_t done, std::int64_t total, std::int64_t) {
      sampling.progress(done, total, "answers");
    };
  std::vector<std::vector<Completion>> completions =
      Sampler(player.model, &player.tokenizer).generate(requests, options);
  for (const std::vector<Completion>& answers : completions)
    for (const Completion& completion : answers) sampling.add_tokens(static_cast<std::int64_t>(completion.ids.size()));
  return completions;
}

std::vector<GroupScores> score(const Player& player,
                               std::span<const std::vector<std::shared_ptr<const RewardInput::Data>>> inputs,
                               bool is_first) {
  const Phase scoring(player.phases, "scoring");
  return player.rewards.score(inputs, is_first);
}

// Mean and unbiased standard deviation of the values that are there.
struct Spread {
  double sum = 0, sum_squares = 0;
  std::int64_t n = 0;
  void add(double x) {
    if (std::isnan(x)) return;
    sum += x;
    sum_squares += x * x;
    ++n;
  }
  double mean() const { return n > 0 ? sum / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN(); }
  double deviation() const {
    if (n < 2) return 0;
    return std::sqrt(std::max(0.0, (sum_squares - sum * mean()) / static_cast<double>(n - 1)));
  }
};

struct Lengths {
  double sum = 0, min = std::numeric_limits<double>::infinity(), max = 0;
  std::int64_t n = 0;
  void add(double length) {
    sum += length;
    min = std::min(min, length);
    max = std::max(max, length);
    ++n;
  }
  void write(Metrics& metrics, const std::string& prefix, const char* what) const {
    metrics[fmt::format("{}completions/mean{}_length", prefix, what)] = n > 0 ? sum / static_cast<double>(n) : 0.0;
    metrics[fmt::format("{}completions/min{}_length", prefix, what)] = n > 0 ? min : 0.0;
    metrics[fmt::format("{}completions/max{}_length", prefix, what)] = max;
  }
};

}  // namespace

std::int64_t prompt_limit(const ModelConfig& model, const DataSection& data, std::int64_t max_new_tokens) {
  const std::int64_t context_room = model.max_positions - max_new_tokens;
  GRPO_CHECK(
      context_room > 0,
      fmt::format("grpo.max_completion_length: {} tokens leave no room for a prompt in the model's context of {}",
                  max_new_tokens, model.max_positions));
  return data.max_prompt_length > 0 ? std::min<std::int64_t>(data.max_prompt_length, context_room) : context_room;
}

PromptSet load_prompts(const Player& player, const DataSection& data, const Dataset& dataset,
                       std::int64_t max_new_tokens, int max_prompts) {
  const PromptBuilder builder(player.tokenizer, data);
  const std::int64_t limit = prompt_limit(player.model.config(), data, max_new_tokens);
  PromptSet set;
  std::string first_unscorable;
  std::int64_t num_unscorable = 0;
  for (std::size_t i = 0;
       i < dataset.size() && (max_prompts == 0 || set.prompts.size() < static_cast<std::size_t>(max_prompts)); ++i) {
    Prompt prompt = builder.build(dataset.row(i), i);
    if (static_cast<std::int64_t>(prompt.ids.size()) > limit) {
      ++set.num_too_long;
      continue;
    }
    try {
      player.rewards.check_row(prompt.columns, prompt.answer);
    } catch (const Error& error) {
      if (num_unscorable++ == 0) first_unscorable = fmt::format("{}: {}", dataset.row(i).where(), error.what());
    }
    set.prompts.push_back(std::move(prompt));
  }
  GRPO_CHECK(!set.prompts.empty(),
             fmt::format("{}: none of the {} prompts fits in {} tokens", dataset.source(), dataset.size(), limit));
  if (set.num_too_long > 0)
    log::warn(fmt::format("{}: {} of {} prompts are longer than {} tokens and left out", dataset.source(),
                          set.num_too_long, dataset.size(), limit));
  if (num_unscorable > 0)
    log::warn(fmt::format("{}: {} rows that a reward cannot score; the first: {}", dataset.source(), num_unscorable,
                          first_unscorable));
  return set;
}

std::shared_ptr<const RewardInput::Data> reward_input(const RolloutGroup& group, const Completion& completion,
                                                      const RewardSet& rewards, const SampleAndScore& request) {
  auto data = std::make_shared<RewardInput::Data>();
  data->prompt = group.prompt.text;
  data->messages = group.prompt.messages;
  data->completion = completion.text;
  data->token_ids = completion.ids;
  data->finish_reason = completion.finish_reason;
  data->reference = group.prompt.answer;
  data->columns = group.prompt.columns;
  data->step = request.step;
  data->is_evaluation = request.is_evaluation;
  data->think_mode = rewards.think_mode();
  return data;
}

std::vector<RolloutGroup> sample_and_score(const Player& player, const SampleAndScore& request) {
  std::vector<RolloutGroup> groups(request.prompts.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].prompt = *request.prompts[g];
    groups[g].weights_version = request.step;
  }
  const IndexRange own =
      player.communicator ? even_share(groups.size(), *player.communicator) : IndexRange{0, groups.size()};
  std::vector<SampleRequest> requests = sample_requests(request);
  requests = {requests.begin() + static_cast<std::ptrdiff_t>(own.begin),
              requests.begin() + static_cast<std::ptrdiff_t>(own.end)};
  std::vector<std::vector<Completion>> completions = sample(player, requests, request.sampling);
  std::vector<std::vector<std::shared_ptr<const RewardInput::Data>>> inputs(own.size());
  for (std::size_t i = 0; i < own.size(); ++i) {
    RolloutGroup& group = groups[own.begin + i];
    group.completions = std::move(completions[i]);
    for (const Completion& completion : group.completions)
      inputs[i].push_back(reward_input(group, completion, player.rewards, request));
  }
  std::vector<GroupScores> scores = score(player, inputs, request.is_first);
  for (std::size_t i = 0; i < own.size(); ++i) {
    RolloutGroup& group = groups[own.begin + i];
    for (std::vector<Verdict>& verdicts : scores[i].verdicts) {
      std::vector<double>& row = group.rewards.emplace_back();
      std::vector<ScoreReason>& reasons = group.verdicts.emplace_back();
      for (Verdict& verdict : verdicts) {
        row.push_back(verdict.score);
        reasons.push_back({std::move(verdict.verdict), std::move(verdict.why)});
      }
    }
    for (std::uint8_t applies : scores[i].applies) group.absent.push_back(applies ? 0 : 1);
  }
  if (player.communicator) {
    const Phase exchange(player.phases, "exchange");
    exchange_groups(*player.communicator, groups);
  }
  return groups;
}

void restore_prompts(const SampleAndScore& request, std::vector<RolloutGroup>& groups) {
  bool same = groups.size() == request.prompts.size();
  for (std::size_t g = 0; same && g < groups.size(); ++g) {
    const Prompt& prompt = *request.prompts[g];
    same = groups[g].prompt.row == prompt.row && groups[g].prompt.ids == prompt.ids;
    groups[g].prompt = prompt;
  }
  GRPO_CHECK(same, fmt::format("step {}: the rollout on disk is of other prompts; did the tokenizer change?",
                               request.step + 1));
}

Metrics rollout_metrics(const std::vector<RolloutGroup>& groups, const RewardSet& rewards, std::int64_t step,
                        const std::string& prefix) {
  Metrics metrics;
  Lengths all, terminated;
  std::vector<Spread> spreads(rewards.size());
  Spread total, reflective, repeated, mixed;
  for (const RolloutGroup& group : groups)
    for (std::size_t c = 0; c < group.completions.size(); ++c) {
      const Completion& completion = group.completions[c];
      all.add(static_cast<double>(completion.ids.size()));
      reflective.add(static_cast<double>(count_reflective_words(completion.text)));
      repeated.add(repeated_share(completion.text));
      mixed.add(mixed_share(completion.text));
      if (completion.finish_reason == FinishReason::Stop) terminated.add(static_cast<double>(completion.ids.size()));
      double sum = 0;
      for (std::size_t k = 0; k < rewards.size(); ++k) {
        const double score = group.rewards[c][k];
        spreads[k].add(score);
        const double weight = rewards.weight(k, step);
        if (weight == 0 || group.absent[k]) continue;
        if (!std::isnan(score)) {
          sum += weight * score;
        } else if (rewards.missing(k) == MissingReward::Exclude) {
          sum = std::numeric_limits<double>::quiet_NaN();
        }
      }
      total.add(sum);
    }
  all.write(metrics, prefix, "");
  terminated.write(metrics, prefix, "_terminated");
  metrics[prefix + "completions/clipped_ratio"] =
      all.n > 0 ? 1.0 - static_cast<double>(terminated.n) / static_cast<double>(all.n) : 0.0;
  metrics[prefix + "completions/reflective_words"] = reflective.mean();
  metrics[prefix + "completions/repetition"] = repeated.mean();
  metrics[prefix + "completions/language_mixing"] = mixed.mean();
  metrics[prefix + "reward"] = total.mean();
  metrics[prefix + "reward_std"] = total.deviation();
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    metrics[fmt::format("{}rewards/{}/mean", prefix, rewards.name(k))] = spreads[k].mean();
    metrics[fmt::format("{}rewards/{}/std", prefix, rewards.name(k))] = spreads[k].deviation();
  }
  return metrics;
}

}  // namespace grpo::inline GRPO_ABI
