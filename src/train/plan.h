// What a run will compute and hold, worked out from its configuration, the model's and the prompts' lengths.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <grpo/train.h>

namespace grpo::inline GRPO_ABI {

// Lengths of the prompts (sft: conversations) that a run keeps, in the file's order.
using RowLengths = std::vector<std::int64_t>;

// ---- packing --------------------------------------------------------------------------------------------------------

// Of a micro-batch, by its setting.
inline std::int64_t micro_batch_tokens(int given) { return given > 0 ? given : kMicroBatchTokens; }
// An answer as pack() sees it: `answer` tokens after the `prompt` tokens of its group.
struct AnswerSize {
  std::size_t group = 0;
  std::int64_t prompt = 0, answer = 0;
};
// The micro-batches that pack() makes of answers.
struct PackedSizes {
  std::int64_t batches = 0, tokens = 0, prompts = 0;  // prompts: each counts once per micro-batch it stands in
  std::int64_t most_tokens = 0, most_targets = 0, most_blocks = 0;  // of one micro-batch; blocks of keys and values
};
PackedSizes packed_sizes(const std::vector<AnswerSize>& answers, std::int64_t max_tokens);
// One step's answers for each step that the first rollout serves, dealt out in one of the two ways.
std::vector<PackedSizes> step_sizes(const RunConfig& config, const RowLengths& lengths, MinibatchSplit split);
// The same of `kind: sft`: one step of conversations.
PackedSizes sft_step_sizes(const RunConfig& config, const RowLengths& lengths);

// ---- memory of one rank ---------------------------------------------------------------------------------------------

struct PhaseBytes {
  std::string phase;
  std::vector<std::pair<std::string, std::int64_t>> parts;
  std::int64_t total() const;
  std::int64_t part(const std::string& name) const;  // 0: it has none of that name
};
// Elements of a flat parameter that one of `ranks` keeps in its optimiser, at most.
std::int64_t largest_piece(std::int64_t elements, int ranks);
// What stays from the first step to the last: weights, masters, moments, reference.
PhaseBytes resident_bytes(const RunConfig& config, const ModelConfig& model, int ranks = 1);
// Every phase, with the resident part in each; answers are as long as they may get. `recompute`:
// CausalLM::set_recompute. docs/cli.md has the formulas.
std::vector<PhaseBytes> plan_bytes(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths,
                                   int ranks = 1, bool recompute = false);
std::int64_t peak_bytes(const std::vector<PhaseBytes>& phases);
// Of the phase "update".
std::int64_t update_bytes(const std::vector<PhaseBytes>& phases);

// Whether layers are recomputed, by train.recompute. `auto` does it when the update, or one micro-batch of the longest
// rows, fits only so into what is `available` beside the resident part (0: unknown).
bool plan_recompute(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths, int ranks,
                    std::int64_t available);

// Throws Error when the resident part and the gradients alone do not fit in what is `available` (0: unknown).
void check_memory(const RunConfig& config, const ModelConfig& model, int ranks, std::int64_t available);
// With the resident part there, or taken off: throws Error when one micro-batch of the update or one answer of the
// sampler may come to need more than what is `available`, and warns when only the worst case of a phase does.
void check_step_memory(const RunConfig& config, const ModelConfig& model, const RowLengths& lengths, int ranks,
                       std::int64_t available, bool recompute = false);

}  // namespace grpo::inline GRPO_ABI
