// CausalLM's inside.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include <grpo/model.h>

#include "model/families.h"

namespace grpo::inline GRPO_ABI {

struct CausalLM::Impl {
  ModelConfig config;
  Options options;
  const Family* family = nullptr;
  std::vector<WeightSpec> specs;
  std::vector<std::unique_ptr<Parameter>> owned;  // graphs hold references: a parameter never moves
  std::vector<Parameter*> parameters;             // in the order of specs
  at::Tensor rope_table;                          // grows with the longest sequence seen
  std::function<void(std::int64_t)> layer_done;   // ForwardInput's
  bool recompute = false;

  // Of a valid configuration, without weights.
  Impl(const ModelConfig& model_config, const Options& model_options);
  // The next parameter of specs, zero.
  Parameter& add_parameter();
  const at::Tensor& rope_table_for(std::int64_t max_position);
};

}  // namespace grpo::inline GRPO_ABI
