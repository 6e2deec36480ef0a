// A checkpoint: a folder that is also a loadable model (config.json, model.safetensors in fp32, tokenizer files), with
// the optimiser's moments, the reference policy where there is one, the rollout in flight where there is one, and
// state.json with checksums of them all and of itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <grpo/model.h>
#include <grpo/train.h>

#include "train/journal.h"

namespace grpo::inline GRPO_ABI {

// The best evaluation so far by eval.best.
struct BestStep {
  std::int64_t step = 0;
  std::string metric;
  double value = 0;
};

struct CheckpointState {
  std::int64_t step = 0;
  Json stage;  // where the data and the rollouts stand
  std::optional<BestStep> best;
  std::optional<Metrics> unfinished;  // of this step, when its evaluation failed and has to be made up for
};

// Written beside and renamed; an interrupted save leaves nothing that resume would take.
void save_checkpoint(const std::string& folder, const CheckpointState& state, const CausalLM& model,
                     const Tokenizer& tokenizer, const Optimizer& optimizer, const CausalLM* reference,
                     const Rollout* in_flight);
// Another state for a checkpoint of the same step.
void update_checkpoint(const std::string& folder, const CheckpointState& state);
struct LoadedCheckpoint {
  CheckpointState state;
  std::optional<Rollout> in_flight;
};
// Into existing objects of the same shapes. Throws Error on a damaged file (checksum), naming it.
LoadedCheckpoint load_checkpoint(const std::string& folder, CausalLM& model, Optimizer& optimizer, CausalLM* reference);

// best.json of a run folder, as best_checkpoint_path() reads it; without a best step there is no such file.
void write_best(const std::string& run_folder, const std::optional<BestStep>& best);
// Removes all but the newest `keep` checkpoints and the best one; 0 keeps all.
void prune_checkpoints(const std::string& run_folder, int keep, const std::optional<BestStep>& best);

}  // namespace grpo::inline GRPO_ABI
