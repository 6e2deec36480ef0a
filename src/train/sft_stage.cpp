#include <ATen/core/Tensor.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/log.h"
#include "train/plan.h"
#include "train/ranks.h"
#include "train/stage.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Conversations of one micro-batch, each its own sequence: neighbours never see each other.
struct SftBatch {
  TokenBatch tokens;
  std::vector<std::int32_t> rows, targets;  // assistant tokens only
};

class SftStage final : public Stage {
 public:
  explicit SftStage(const StageContext& context)
      : context_(context),
        config_(context.config.sft),
        rows_(load()),
        order_(rows_.size(), context.config.seed, context.config.data.shuffle) {
    RowLengths lengths;
    for (const PromptBuilder::Conversation& row : rows_) lengths.push_back(static_cast<std::int64_t>(row.ids.size()));
    fit_memory(context, lengths);
  }

  // Loss: -sum of log-probs of the step's assistant tokens over their number.
  Metrics accumulate(std::int64_t /*step*/) override {
    Phase phase(&context_.phases, "update");
    const std::vector<SftBatch> batches = next_batches();
    double num_targets = 0;
    for (const SftBatch& batch : batches) num_targets += static_cast<double>(batch.targets.size());
    context_.communicator.all_reduce(std::span<double>(&num_targets, 1));
    std::array<double, 2> sums = {};  // loss, tokens
    passes_.run(batches.size(), [&](std::size_t i) -> at::Tensor {
      const SftBatch& batch = batches[i];
      phase.progress(static_cast<std::int64_t>(i), static_cast<std::int64_t>(batches.size()), "batches");
      if (batch.targets.empty()) return {};
      phase.add_tokens(static_cast<std::int64_t>(batch.tokens.tokens.size()));
      const at::Tensor loss = logprobs_of(batch).sum().div(-num_targets);
      const double value = loss.item<double>();
      if (!std::isfinite(value))
        throw Error(fmt::format("loss: expected a finite number, got {}", value), ErrorKind::Guard);
      sums[0] += value;
      sums[1] += static_cast<double>(batch.tokens.tokens.size());
      return loss;
    });
    context_.communicator.all_reduce(std::span<double>(sums));
    num_tokens_ += static_cast<std::int64_t>(sums[1]);
    return {{"loss", sums[0]},
            {"num_tokens", static_cast<double>(num_tokens_)},
            {"epoch", static_cast<double>(position_) / static_cast<double>(rows_.size())}};
  }

  Json state() const override { return Json::Object{{"position", position_}, {"num_tokens", num_tokens_}}; }
  void restore(const Json& state, std::optional<Rollout> /*rollout*/) override {
    position_ = static_cast<std::uint64_t>(state.at("position").as_int());
    num_tokens_ = state.at("num_tokens").as_int();
  }

 private:
  at::Tensor logprobs_of(const SftBatch& batch) const {
    const Phase phase(&context_.phases, "forward");
    const at::Tensor hidden = context_.policy.forward(batch.tokens);
    return token_logprobs(hidden, at::tensor(batch.rows), at::tensor(batch.targets), context_.policy.head()).logprobs;
  }

  std::vector<PromptBuilder::Conversation> load() const {
    const RunConfig& config = context_.config;
    const Dataset dataset = Dataset::load(config.data.train, config.data.max_rows);
    const PromptBuilder builder(context_.tokenizer, config.data);
    const std::int64_t limit = std::min<std::int64_t>(config_.max_length, context_.policy.config().max_positions);
    std::vector<PromptBuilder::Conversation> rows;
    std::int64_t num_too_long = 0;
    for (std::size_t i = 0; i < dataset.size(); ++i) {
      PromptBuilder::Conversation row = builder.build_conversation(dataset.row(i));
      if (static_cast<std::int64_t>(row.ids.size()) > limit) {
        GRPO_CHECK(
            config_.drop_long,
            fmt::format("{}: {} tokens, expected at most {} (sft.max_length; sft.drop_long leaves such rows out)",
                        dataset.row(i).where(), row.ids.size(), limit));
        ++num_too_long;
        continue;
      }
      rows.push_back(std::move(row));
    }
    GRPO_CHECK(!rows.empty(),
               fmt::format("{}: none of the {} rows has at most {} tokens", config.data.train, dataset.size(), limit));
    if (num_too_long > 0)
      log::warn(
          fmt::format("{}: {} rows are longer than {} tokens and left out", config.data.train, num_too_long, limit));
    return rows;
  }

  std::vector<SftBatch> next_batches() {
    const std::size_t max_tokens =
        static_cast<std::size_t>(config_.micro_batch_tokens > 0 ? config_.micro_batch_tokens : kMicroBatchTokens);
    std::vector<const PromptBuilder::Conversation*> rows;
    std::vector<std::int64_t> tokens;
    std::vector<std::size_t> runs;
    for (int i = 0; i < config_.batch_size; ++i) {
      rows.push_back(&rows_[order_.row_at(position_++)]);
      tokens.push_back(static_cast<std::int64_t>(rows.back()->ids.size()));
      runs.push_back(runs.size());
    }
    const IndexRange own = balanced_share(tokens, runs, context_.communicator);
    std::vector<SftBatch> batches(1);
    for (std::size_t i = own.begin; i < own.end; ++i) {
      const PromptBuilder::Conversation& row = *rows[i];
      if (!batches.back().tokens.tokens.empty() && batches.back().tokens.tokens.size() + row.ids.size() > max_tokens)
        batches.emplace_back();
      append(batches.back(), row);
    }
    return batches;
  }

  static void append(SftBatch& batch, const PromptBuilder::Conversation& row) {
    const auto begin = static_cast<std::int32_t>(batch.tokens.tokens.size());
    batch.tokens.tokens.insert(batch.tokens.tokens.end(), row.ids.begin(), row.ids.end());
    batch.tokens.sequences.push_back({begin, static_cast<std::int64_t>(batch.tokens.tokens.size()), -1, -1});
    for (std::size_t t = 1; t < row.ids.size(); ++t) {
      if (!row.is_assistant[t]) continue;
      batch.rows.push_back(begin + static_cast<std::int32_t>(t) - 1);
      batch.targets.push_back(row.ids[t]);
    }
  }

  StageContext context_;
  const SftSection& config_;
  std::vector<PromptBuilder::Conversation> rows_;
  RowOrder order_;
  BackwardPasses passes_{context_.policy, context_.optimizer, context_.communicator, context_.phases,
                         context_.config.distributed.zero_stage};
  std::uint64_t position_ = 0;  // rows drawn so far
  std::int64_t num_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Stage> make_sft_stage(const StageContext& context) { return std::make_unique<SftStage>(context); }

}  // namespace grpo::inline GRPO_ABI
