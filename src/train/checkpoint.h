// A checkpoint: a folder that is also a loadable model (config.json, model.safetensors in fp32, tokenizer files), with
// the optimiser's moments, the reference policy where there is one, and state.json with checksums.
#pragma once

#include <cstdint>
#include <string>

#include <grpo/model.h>
#include <grpo/train.h>

namespace grpo::inline GRPO_ABI {

struct CheckpointState {
  std::int64_t step = 0;
  Json stage;  // where the data and the rollouts stand
};

// Written beside and renamed; an interrupted save leaves nothing that resume would take.
void save_checkpoint(const std::string& folder, const CheckpointState& state, const CausalLM& model,
                     const Tokenizer& tokenizer, const Optimizer& optimizer, const CausalLM* reference);
// Into existing objects of the same shapes. Throws Error on a damaged file (checksum), naming it.
CheckpointState load_checkpoint(const std::string& folder, CausalLM& model, Optimizer& optimizer, CausalLM* reference);

}  // namespace grpo::inline GRPO_ABI
