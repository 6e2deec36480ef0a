// The field lists of every configuration section. To add a key: the member in grpo/config.h and its row here.
#pragma once

#include "base/fields.h"

namespace grpo::fields {

const Fields<ModelSection>& model_fields();
const Fields<DataSection>& data_fields();
const Fields<RewardEntry>& reward_fields();
const Fields<AdvantageConfig>& advantage_fields();
const Fields<LossConfig>& loss_fields();
const Fields<GrpoSection>& grpo_fields();  // with those of advantage and loss
const Fields<SftSection>& sft_fields();
const Fields<OptimizerSection>& optimizer_fields();
const Fields<EvalSection>& eval_fields();
const Fields<RunConfig>& run_fields();

}  // namespace grpo::fields
