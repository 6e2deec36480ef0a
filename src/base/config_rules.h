// The rules across fields, with the tree that the values came from, so that complaints can name its lines.
#pragma once

#include <grpo/config.h>

namespace grpo::inline GRPO_ABI {

enum class RewardsFrom { File, FileOrCode };  // whether a program may add its rewards after loading

// `tree` may be null: the configuration was built in code.
void check_rules(const RunConfig& config, Command command, const Json* tree, RewardsFrom rewards);
// Those of the loss and the advantages alone, under the path `grpo`.
void check_loss_rules(const GrpoSection& section, const Json* tree);

// What one setting says about another: gspo means sequence ratios. An explicit value stays, for the rules to judge.
void apply_implications(GrpoSection& section, const Json& tree);

}  // namespace grpo::inline GRPO_ABI
