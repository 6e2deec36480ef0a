#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "train/invariants.h"
#include "train/minibatches.h"
#include "train/plan.h"
#include "train/ranks.h"
#include "train/stage.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr double kOnPolicyTolerance = 1e-3;  // check_on_policy: tolerance

std::vector<double> to_doubles(const at::Tensor& values) {
  const at::Tensor flat = values.detach().contiguous();
  const float* data = flat.const_data_ptr<float>();
  return {data, data + flat.numel()};
}

class GrpoStage final : public Stage {
 public:
  explicit GrpoStage(const StageContext& context)
      : context_(context),
        config_(context.config.grpo),
        prompts_(load_prompts(context.player(), context.config.data,
                              Dataset::load(context.config.data.train, context.config.data.max_rows),
                              config_.loss.max_completion_length)),
        order_(prompts_.prompts.size(), context.config.seed, context.config.data.shuffle) {
    if (config_.loss.beta > 0)
      reference_.emplace(context.policy.clone({.dtype = context.policy.dtype(), .trainable = false}));
    RowLengths lengths;
    for (const Prompt& prompt : prompts_.prompts) lengths.push_back(static_cast<std::int64_t>(prompt.ids.size()));
    fit_memory(context, lengths);
  }

  Metrics accumulate(std::int64_t step) override {
    Metrics metrics;
    if (next_minibatch_ == minibatches_.size()) metrics = roll_out(step);
    metrics.merge(update(next_minibatch_++));
    metrics["epoch"] = static_cast<double>(position_) / static_cast<double>(prompts_.prompts.size());
    metrics["num_tokens"] = static_cast<double>(num_tokens_);
    return metrics;
  }

  void stepped(std::int64_t step) override {
    if (reference_ && config_.ref_sync_steps > 0 && (step + 1) % config_.ref_sync_steps == 0)
      reference_->mix_from(context_.policy, config_.ref_mixup_alpha);
  }

  Json state() const override {
    Json state = Json::Object{{"position", position_}, {"num_tokens", num_tokens_}};
    if (rollout_in_flight()) state["minibatch"] = Json::Object{{"next", next_minibatch_}, {"of", minibatches_.size()}};
    return state;
  }
  const Rollout* rollout_in_flight() const override {
    return next_minibatch_ < minibatches_.size() ? &rollout_ : nullptr;
  }
  void restore(const Json& state, std::optional<Rollout> rollout) override {
    position_ = static_cast<std::uint64_t>(state.at("position").as_int());
    num_tokens_ = state.at("num_tokens").as_int();
    is_first_rollout_ = position_ == 0;
    if (!rollout) return;
    const Json now = reward_names(context_.rewards), then = rollout->address.at("rewards");
    GRPO_CHECK(now == then, fmt::format("rewards: the checkpoint lies inside a rollout that {} scored, now it would be "
                                        "{}; go on from a checkpoint between rollouts",
                                        then.dump(), now.dump()));
    rollout_ = std::move(*rollout);
    Metrics ignored;  // told when the rollout was made
    score_advantages(ignored);
    split_minibatches();
    const std::int64_t minibatches = state.at("minibatch").at("of").as_int();
    GRPO_CHECK(minibatches == static_cast<std::int64_t>(minibatches_.size()),
               fmt::format("grpo.steps_per_generation, grpo.num_iterations: the checkpoint lies inside a rollout of {} "
                           "minibatches, now it would have {}; go on from a checkpoint between rollouts",
                           minibatches, minibatches_.size()));
    next_minibatch_ = static_cast<std::size_t>(state.at("minibatch").at("next").as_int());
  }
  CausalLM* reference() override { return reference_ ? &*reference_ : nullptr; }

 private:
  // ---- sampling -----------------------------------------------------------------------------------------------------

  Metrics roll_out(std::int64_t step) {
    const Phase rollout(&context_.phases, "rollout");
    SampleAndScore request;
    const int count = config_.prompts_per_step * config_.steps_per_generation;
    for (int i = 0; i < count; ++i) request.prompts.push_back(&prompts_.prompts[order_.row_at(position_++)]);
    request.num_generations = config_.num_generations;
    request.sampling.temperature = config_.temperature;
    request.sampling.max_new_tokens = config_.loss.max_completion_length;
    request.sampling.stop = config_.stop;
    if (config_.cache_tokens > 0) request.sampling.cache_tokens = config_.cache_tokens;
    request.seed = context_.config.seed;
    request.step = step;
    request.is_first = is_first_rollout_;
    is_first_rollout_ = false;
    rollout_ = recorded_or_new(request);
    Metrics metrics = rollout_metrics(rollout_.groups, context_.rewards, step, "");
    context_.phases.set_reward(metrics.at("reward"));
    add_failures(metrics);
    score_advantages(metrics);
    for (const RolloutGroup& group : rollout_.groups)
      for (const Completion& completion : group.completions)
        num_tokens_ += static_cast<std::int64_t>(group.prompt.ids.size() + completion.ids.size());
    if (on_rollout) on_rollout({step, &rollout_.groups});
    split_minibatches();
    return metrics;
  }

  // What the journal has is neither sampled nor scored again; what it has not is written before anything depends on it.
  Rollout recorded_or_new(const SampleAndScore& request) {
    Rollout rollout;
    rollout.address = Json::Object{{"step", request.step}};
    if (journal) {
      rollout.address = journal->address(request.step, context_.policy, context_.rewards);
      if (std::optional<Rollout> recorded = journal->find(rollout.address)) {
        restore_prompts(request, recorded->groups);
        return std::move(*recorded);
      }
    }
    const std::map<std::string, RewardFailureCounts> before = context_.rewards.failures();
    rollout.groups = sample_and_score(context_.player(), request);
    rollout.failures = failures_since(before, context_.rewards, context_.communicator);
    if (journal) journal->write(rollout);
    return rollout;
  }

  // Answers of this rollout without a score, by cause, where there are any.
  void add_failures(Metrics& metrics) const {
    for (std::size_t k = 0; k < rollout_.failures.size(); ++k) {
      const auto add = [&](const char* cause, std::int64_t count) {
        if (count > 0)
          metrics[fmt::format("rewards/{}/{}", context_.rewards.name(k), cause)] = static_cast<double>(count);
      };
      const RewardFailureCounts& counts = rollout_.failures[k];
      add("num_missing", counts.missing);
      add("num_thrown", counts.thrown);
      add("num_timed_out", counts.timed_out);
      add("num_infrastructure", counts.infrastructure);
      add("num_out_of_range", counts.out_of_range);
    }
  }

  // Over the whole rollout, before it is split.
  void score_advantages(Metrics& metrics) {
    const Phase phase(&context_.phases, "advantages");
    const RewardSet& rewards = context_.rewards;
    std::vector<double> values, weights;
    std::vector<MissingReward> missing;
    std::vector<std::int64_t> offsets = {0};
    std::vector<std::uint8_t> absent;
    for (std::size_t k = 0; k < rewards.size(); ++k) {
      weights.push_back(rewards.weight(k, rollout_.step()));
      missing.push_back(rewards.missing(k));
    }
    for (const RolloutGroup& group : rollout_.groups) {
      for (const std::vector<double>& row : group.rewards) values.insert(values.end(), row.begin(), row.end());
      offsets.push_back(offsets.back() + static_cast<std::int64_t>(group.rewards.size()));
      absent.insert(absent.end(), group.absent.begin(), group.absent.end());
    }
    const AdvantageResult result = advantages({.rewards = values,
                                               .num_rewards = rewards.size(),
                                               .weights = weights,
                                               .missing = missing,
                                               .group_offsets = offsets,
                                               .absent = absent},
                                              config_.advantage);
    std::size_t sample = 0;
    for (RolloutGroup& group : rollout_.groups)
      for (std::size_t c = 0; c < group.completions.size(); ++c, ++sample) {
        group.advantages.push_back(result.advantages[sample]);
        group.included.push_back(result.included[sample]);
      }
    for (const auto& [name, value] : result.metrics) metrics[name] = value;
    metrics["invariants/incomplete_groups"] = incomplete_groups(rollout_.groups, config_.num_generations);
    if (config_.advantage.aggregation == Aggregation::SumThenNormalize)
      metrics["invariants/advantage_sum"] = largest_advantage_sum(rollout_.groups);
  }

  // Every iteration sees the same minibatches; `completions` deals the rollout's answers out at random.
  void split_minibatches() {
    std::vector<AnswerRef> answers;
    for (const RolloutGroup& group : rollout_.groups)
      for (std::size_t c = 0; c < group.completions.size(); ++c) answers.push_back({&group, c});
    std::vector<std::vector<AnswerRef>> split(static_cast<std::size_t>(config_.steps_per_generation));
    const std::vector<std::size_t> part_of = deal_answers(
        answers.size(), {config_.minibatch_split, config_.steps_per_generation, context_.config.seed, rollout_.step()});
    for (std::size_t i = 0; i < answers.size(); ++i)
      split[part_of[i]].push_back(answers[i]);  // neighbours share prompts
    minibatches_.clear();
    for (int iteration = 0; iteration < config_.num_iterations; ++iteration)
      minibatches_.insert(minibatches_.end(), split.begin(), split.end());
    next_minibatch_ = 0;
  }

  // ---- update -------------------------------------------------------------------------------------------------------

  // This rank's answers of a minibatch.
  std::vector<AnswerRef> own_answers(const std::vector<AnswerRef>& all) const {
    std::vector<std::int64_t> tokens;
    std::vector<std::size_t> groups;
    for (const AnswerRef& answer : all) {
      tokens.push_back(static_cast<std::int64_t>(answer.group->completions[answer.completion].ids.size()));
      groups.push_back(static_cast<std::size_t>(answer.group - rollout_.groups.data()));
    }
    const IndexRange own = balanced_share(tokens, groups, context_.communicator);
    return {all.begin() + static_cast<std::ptrdiff_t>(own.begin), all.begin() + static_cast<std::ptrdiff_t>(own.end)};
  }

  // Sampler and trainer are one forward, so what the sampler recorded is the old log-prob at the rollout's weights.
  std::vector<PackedBatch> pack_minibatch(const std::vector<AnswerRef>& all, bool on_policy) {
    const std::vector<AnswerRef> answers = own_answers(all);
    PackOptions options{.mask_truncated = config_.loss.mask_truncated_completions};
    if (config_.micro_batch_tokens > 0) options.max_tokens = config_.micro_batch_tokens;
    std::vector<PackedBatch> batches = pack(answers, options);
    if (!on_policy)
      for (PackedBatch& batch : batches) batch.old_logps = batch.sampler_logps;
    if (!reference_) return batches;
    const Phase phase(&context_.phases, "reference");
    const at::NoGradGuard no_grad;
    for (PackedBatch& batch : batches)
      batch.ref_logps = to_doubles(batch_logprobs(*reference_, batch, config_.temperature).logprobs);
    return batches;
  }

  Metrics update(std::size_t minibatch) {
    Phase phase(&context_.phases, "update");
    const std::vector<AnswerRef>& answers = minibatches_[minibatch];
    const bool on_policy = minibatch == 0;
    const std::vector<PackedBatch> batches = pack_minibatch(answers, on_policy);
    Denominators denominators = count_denominators(batches);
    std::array<double, 2> counts = {denominators.sequences, denominators.tokens};
    context_.communicator.all_reduce(std::span<double>(counts));
    denominators = {counts[0], counts[1]};
    Sums sums;
    double& loss_sum = sums["loss"];
    passes_.run(batches.size(), [&](std::size_t i) -> at::Tensor {
      const PackedBatch& batch = batches[i];
      phase.progress(static_cast<std::int64_t>(i), static_cast<std::int64_t>(batches.size()), "batches");
      phase.add_tokens(static_cast<std::int64_t>(batch.tokens.tokens.size()));
      const TokenLogprobs current = forward(batch);
      if (on_policy) check_on_policy(batch, current.logprobs, sums);
      if (denominators.tokens == 0) return {};
      std::map<std::string, double> batch_sums;
      const at::Tensor loss =
          policy_loss(current.logprobs, current.entropy, loss_batch(batch), config_.loss, denominators, &batch_sums);
      const double value = loss.item<double>();
      if (!std::isfinite(value))
        throw Error(fmt::format("loss: expected a finite number, got {}", value), ErrorKind::Guard);
      loss_sum += value;
      add_loss_sums(sums, batch_sums);
      return loss;
    });
    sums = merge_over_ranks(context_.communicator, sums, add_loss_sums);
    Metrics metrics = finish_loss_metrics(sums);
    metrics["loss"] = sums["loss"];
    metrics["invariants/mask_sum_error"] =
        mask_sum_error(denominators.tokens, answers, config_.loss.mask_truncated_completions);
    if (on_policy) {
      metrics["sampling/mismatched_tokens"] = sums["mismatched"];
      metrics["invariants/ratio_drift"] = sums["max:drift"];
    }
    return metrics;
  }

  TokenLogprobs forward(const PackedBatch& batch) const {
    const Phase phase(&context_.phases, "forward");
    return batch_logprobs(context_.policy, batch, config_.temperature, true);
  }

  // Counts the tokens whose log-prob is not the sampler's, bit for bit, and keeps the largest difference: the log of a
  // ratio that should be 1. More than the setting allows stops the run.
  void check_on_policy(const PackedBatch& batch, const at::Tensor& logprobs, Sums& sums) const {
    const std::vector<double> now = to_doubles(logprobs);
    double mismatched = 0, worst = 0;
    for (std::size_t i = 0; i < now.size(); ++i) {
      const double difference = std::abs(now[i] - batch.sampler_logps[i]);
      if (difference == 0) continue;
      ++mismatched;
      worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
    }
    const CheckOnPolicy check = config_.check_on_policy;
    if ((check == CheckOnPolicy::Exact && mismatched > 0) ||
        (check == CheckOnPolicy::Tolerance && !(worst <= kOnPolicyTolerance)))
      throw Error(fmt::format("grpo.check_on_policy: {} of {} tokens differ from the sampler's log-probs, by up to {}",
                              mismatched, now.size(), worst),
                  ErrorKind::Guard);
    add_loss_sums(sums, {{"mismatched", mismatched}, {"max:drift", worst}});
  }

  StageContext context_;
  const GrpoSection& config_;
  PromptSet prompts_;
  RowOrder order_;
  std::optional<CausalLM> reference_;
  BackwardPasses passes_{context_.policy, context_.optimizer, context_.communicator, context_.phases,
                         context_.config.distributed.zero_stage};
  Rollout rollout_;  // the one that minibatches_ are made of
  std::vector<std::vector<AnswerRef>> minibatches_;
  std::size_t next_minibatch_ = 0;
  std::uint64_t position_ = 0;  // prompts drawn so far
  std::int64_t num_tokens_ = 0;
  bool is_first_rollout_ = true;
};

}  // namespace

std::unique_ptr<Stage> make_grpo_stage(const StageContext& context) { return std::make_unique<GrpoStage>(context); }

}  // namespace grpo::inline GRPO_ABI
