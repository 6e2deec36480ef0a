#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include <fmt/format.h>
#include <grpo/train.h>

namespace grpo::inline GRPO_ABI {
namespace {

std::int64_t size_of(const std::vector<std::int32_t>& ids) { return static_cast<std::int64_t>(ids.size()); }

// Puts answers into one batch, prompts first where they are shared.
class Packer {
 public:
  explicit Packer(const PackOptions& options) : options_(options) {}

  // Throws Error when the answer cannot be packed at all.
  static void check(const AnswerRef& answer) {
    GRPO_CHECK(answer.group, "pack: an answer has no group");
    const RolloutGroup& group = *answer.group;
    const std::size_t count = group.completions.size();
    GRPO_CHECK(answer.completion < count,
               fmt::format("pack: prompt {} has {} answers, got index {}", group.prompt.id, count, answer.completion));
    GRPO_CHECK(group.advantages.empty() || group.advantages.size() == count,
               fmt::format("pack: prompt {} has {} answers and {} advantages", group.prompt.id, count,
                           group.advantages.size()));
    GRPO_CHECK(group.included.empty() || group.included.size() == count,
               fmt::format("pack: prompt {} has {} answers and {} marks in `included`", group.prompt.id, count,
                           group.included.size()));
    const Completion& completion = group.completions[answer.completion];
    GRPO_CHECK(!group.prompt.ids.empty(), fmt::format("pack: prompt {} has no tokens", group.prompt.id));
    GRPO_CHECK(!completion.ids.empty(),
               fmt::format("pack: answer {} of prompt {} has no tokens", answer.completion, group.prompt.id));
    GRPO_CHECK(completion.logprobs.size() == completion.ids.size(),
               fmt::format("pack: answer {} of prompt {} has {} tokens and {} log-probs", answer.completion,
                           group.prompt.id, completion.ids.size(), completion.logprobs.size()));
  }

  bool fits(const AnswerRef& answer) const {
    if (batch_.offsets.size() <= 1) return true;
    const Completion& completion = answer.group->completions[answer.completion];
    std::int64_t more = size_of(completion.ids) - 1;
    if (!options_.share_prefix || answer.group != group_) more += size_of(answer.group->prompt.ids);
    return size_of(batch_.tokens.tokens) + more <= options_.max_tokens;
  }

  void add(const AnswerRef& answer) {
    if (batch_.offsets.empty()) batch_.offsets.push_back(0);
    const RolloutGroup& group = *answer.group;
    const Completion& completion = group.completions[answer.completion];
    std::int32_t last_row = 0;  // hidden row that predicts the answer's first token
    if (options_.share_prefix) {
      if (group_ != &group) open_prompt(group);
      last_row = prompt_last_row_;
      append_sequence(completion.ids.begin(), completion.ids.end() - 1, prompt_sequence_);
    } else {
      last_row = static_cast<std::int32_t>(batch_.tokens.tokens.size() + group.prompt.ids.size() - 1);
      std::vector<std::int32_t> whole = group.prompt.ids;
      whole.insert(whole.end(), completion.ids.begin(), completion.ids.end() - 1);
      append_sequence(whole.begin(), whole.end(), -1);
    }
    const auto first_row = static_cast<std::int32_t>(size_of(batch_.tokens.tokens) - size_of(completion.ids) + 1);
    append_targets(group, answer.completion, last_row, first_row);
  }

  std::vector<PackedBatch> finish() {
    if (!batch_.offsets.empty()) done_.push_back(std::move(batch_));
    return std::move(done_);
  }
  void next_batch() {
    done_.push_back(std::move(batch_));
    batch_ = {};
    group_ = nullptr;
  }

 private:
  void open_prompt(const RolloutGroup& group) {
    group_ = &group;
    prompt_sequence_ = static_cast<std::int32_t>(batch_.tokens.sequences.size());
    append_sequence(group.prompt.ids.begin(), group.prompt.ids.end(), -1);
    prompt_last_row_ = static_cast<std::int32_t>(batch_.tokens.tokens.size() - 1);
  }

  template <class It>
  void append_sequence(It begin, It end, std::int32_t prefix) {
    if (begin == end) return;
    std::vector<std::int32_t>& tokens = batch_.tokens.tokens;
    const std::int64_t first = size_of(tokens);
    tokens.insert(tokens.end(), begin, end);
    batch_.tokens.sequences.push_back({first, size_of(tokens), prefix, -1});
  }

  void append_targets(const RolloutGroup& group, std::size_t index, std::int32_t last_row, std::int32_t first_row) {
    const Completion& completion = group.completions[index];
    const bool counts = (group.included.empty() || group.included[index]) &&
                        !(options_.mask_truncated && completion.finish_reason == FinishReason::Length);
    const double advantage = group.advantages.empty() ? 0.0 : group.advantages[index];
    for (std::size_t t = 0; t < completion.ids.size(); ++t) {
      batch_.rows.push_back(t == 0 ? last_row : first_row + static_cast<std::int32_t>(t) - 1);
      batch_.targets.push_back(completion.ids[t]);
      batch_.mask.push_back(counts ? 1 : 0);
      batch_.sampler_logps.push_back(completion.logprobs[t]);
      batch_.advantages.push_back(advantage);
    }
    batch_.offsets.push_back(static_cast<std::int64_t>(batch_.targets.size()));
  }

  PackOptions options_;
  std::vector<PackedBatch> done_;
  PackedBatch batch_;
  const RolloutGroup* group_ = nullptr;  // whose prompt the batch ends with
  std::int32_t prompt_sequence_ = -1, prompt_last_row_ = -1;
};

}  // namespace

std::vector<PackedBatch> pack(const std::vector<AnswerRef>& answers, const PackOptions& options) {
  Packer packer(options);
  for (const AnswerRef& answer : answers) {
    Packer::check(answer);
    if (!packer.fits(answer)) packer.next_batch();
    packer.add(answer);
  }
  return packer.finish();
}

std::vector<PackedBatch> pack(const std::vector<RolloutGroup>& groups, const PackOptions& options) {
  std::vector<AnswerRef> answers;
  for (const RolloutGroup& group : groups)
    for (std::size_t c = 0; c < group.completions.size(); ++c) answers.push_back({&group, c});
  return pack(answers, options);
}

Denominators count_denominators(const std::vector<PackedBatch>& batches) {
  Denominators sum;
  for (const PackedBatch& batch : batches) {
    const Denominators one = count_denominators(batch.mask, batch.offsets);
    sum.sequences += one.sequences;
    sum.tokens += one.tokens;
  }
  return sum;
}

TokenLogprobs batch_logprobs(const CausalLM& model, const PackedBatch& batch, double temperature, bool entropy) {
  const at::Tensor hidden = model.forward(batch.tokens);
  return token_logprobs(hidden, at::tensor(batch.rows), at::tensor(batch.targets), model.head(),
                        {.temperature = temperature, .entropy = entropy});
}

LossBatch loss_batch(const PackedBatch& batch) {
  LossBatch view;
  view.old_logps = batch.old_logps;
  view.ref_logps = batch.ref_logps;
  view.sampler_logps = batch.sampler_logps;
  view.advantages = batch.advantages;
  view.mask = batch.mask;
  view.offsets = batch.offsets;
  return view;
}

}  // namespace grpo::inline GRPO_ABI
