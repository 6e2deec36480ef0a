#include "train/group_frame.h"

namespace grpo::inline GRPO_ABI {

void write_group(FrameWriter& out, const RolloutGroup& group) {
  out.number(group.completions.size());
  for (std::size_t c = 0; c < group.completions.size(); ++c) {
    const Completion& completion = group.completions[c];
    out.array(std::span<const std::int32_t>(completion.ids));
    out.array(std::span<const float>(completion.logprobs));
    out.number(static_cast<std::uint64_t>(completion.finish_reason));
    out.text(completion.text);
    out.array(std::span<const double>(group.rewards[c]));
    for (const ScoreReason& reason : group.verdicts[c]) {
      out.text(reason.verdict);
      out.text(reason.why);
    }
  }
  out.array(std::span<const std::uint8_t>(group.absent));
}

void read_group(FrameReader& in, RolloutGroup& group) {
  group.completions.resize(in.number());
  group.rewards.resize(group.completions.size());
  group.verdicts.resize(group.completions.size());
  for (std::size_t c = 0; c < group.completions.size(); ++c) {
    Completion& completion = group.completions[c];
    completion.ids = in.array<std::int32_t>();
    completion.logprobs = in.array<float>();
    completion.finish_reason = static_cast<FinishReason>(in.number());
    completion.text = in.text();
    group.rewards[c] = in.array<double>();
    group.verdicts[c].resize(group.rewards[c].size());
    for (ScoreReason& reason : group.verdicts[c]) {
      reason.verdict = in.text();
      reason.why = in.text();
    }
  }
  group.absent = in.array<std::uint8_t>();
}

}  // namespace grpo::inline GRPO_ABI
