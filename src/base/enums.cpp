#include "base/enums.h"

namespace grpo::inline GRPO_ABI {

template <>
std::span<const EnumName<DType>> enum_names() {
  static constexpr EnumName<DType> kNames[] = {
      {DType::Float32, "fp32"}, {DType::BFloat16, "bf16"}, {DType::Float32, "float32"}, {DType::BFloat16, "bfloat16"}};
  return kNames;
}

template <>
std::span<const EnumName<RunKind>> enum_names() {
  static constexpr EnumName<RunKind> kNames[] = {{RunKind::Grpo, "grpo"}, {RunKind::Sft, "sft"}};
  return kNames;
}

template <>
std::span<const EnumName<TemplateKind>> enum_names() {
  static constexpr EnumName<TemplateKind> kNames[] = {{TemplateKind::R1Zero, "r1_zero"},
                                                      {TemplateKind::R1, "r1"},
                                                      {TemplateKind::Chat, "chat"},
                                                      {TemplateKind::Plain, "plain"}};
  return kNames;
}

template <>
std::span<const EnumName<ScaleRewards>> enum_names() {
  static constexpr EnumName<ScaleRewards> kNames[] = {{ScaleRewards::Group, "group"},
                                                      {ScaleRewards::Batch, "batch"},
                                                      {ScaleRewards::None, "none"},
                                                      {ScaleRewards::Group, "true"},  // TRL takes these two as well
                                                      {ScaleRewards::None, "false"}};
  return kNames;
}

template <>
std::span<const EnumName<Aggregation>> enum_names() {
  static constexpr EnumName<Aggregation> kNames[] = {{Aggregation::SumThenNormalize, "sum_then_normalize"},
                                                     {Aggregation::NormalizeThenSum, "normalize_then_sum"}};
  return kNames;
}

template <>
std::span<const EnumName<Baseline>> enum_names() {
  static constexpr EnumName<Baseline> kNames[] = {{Baseline::Mean, "mean"}, {Baseline::LeaveOneOut, "leave_one_out"}};
  return kNames;
}

template <>
std::span<const EnumName<MissingReward>> enum_names() {
  static constexpr EnumName<MissingReward> kNames[] = {
      {MissingReward::Exclude, "exclude"}, {MissingReward::Center, "center"}, {MissingReward::Zero, "zero"}};
  return kNames;
}

template <>
std::span<const EnumName<Isolation>> enum_names() {
  static constexpr EnumName<Isolation> kNames[] = {{Isolation::None, "none"}, {Isolation::Process, "process"}};
  return kNames;
}

template <>
std::span<const EnumName<LossType>> enum_names() {
  static constexpr EnumName<LossType> kNames[] = {
      {LossType::Grpo, "grpo"},   {LossType::DrGrpo, "dr_grpo"}, {LossType::Dapo, "dapo"}, {LossType::Bnpo, "bnpo"},
      {LossType::Cispo, "cispo"}, {LossType::Gspo, "gspo"},      {LossType::Sapo, "sapo"}, {LossType::Gmpo, "gmpo"}};
  return kNames;
}

template <>
std::span<const EnumName<RatioLevel>> enum_names() {
  static constexpr EnumName<RatioLevel> kNames[] = {{RatioLevel::Token, "token"},
                                                    {RatioLevel::Sequence, "sequence"},
                                                    {RatioLevel::SequenceProduct, "sequence_product"}};
  return kNames;
}

template <>
std::span<const EnumName<KlEstimator>> enum_names() {
  static constexpr EnumName<KlEstimator> kNames[] = {
      {KlEstimator::K1, "k1"}, {KlEstimator::K2, "k2"}, {KlEstimator::K3, "k3"}};
  return kNames;
}

template <>
std::span<const EnumName<SamplerCorrection>> enum_names() {
  static constexpr EnumName<SamplerCorrection> kNames[] = {{SamplerCorrection::None, "none"},
                                                           {SamplerCorrection::TokenTruncate, "token_truncate"},
                                                           {SamplerCorrection::TokenMask, "token_mask"},
                                                           {SamplerCorrection::SequenceTruncate, "sequence_truncate"},
                                                           {SamplerCorrection::SequenceMask, "sequence_mask"}};
  return kNames;
}

template <>
std::span<const EnumName<MinibatchSplit>> enum_names() {
  static constexpr EnumName<MinibatchSplit> kNames[] = {{MinibatchSplit::Groups, "groups"},
                                                        {MinibatchSplit::Completions, "completions"}};
  return kNames;
}

template <>
std::span<const EnumName<Schedule>> enum_names() {
  static constexpr EnumName<Schedule> kNames[] = {{Schedule::Constant, "constant"},
                                                  {Schedule::Linear, "linear"},
                                                  {Schedule::Cosine, "cosine"},
                                                  {Schedule::Step, "step"},
                                                  {Schedule::Constant, "constant_with_warmup"},  // TRL's names
                                                  {Schedule::Cosine, "cosine_with_min_lr"}};
  return kNames;
}

template <>
std::span<const EnumName<CheckOnPolicy>> enum_names() {
  static constexpr EnumName<CheckOnPolicy> kNames[] = {
      {CheckOnPolicy::Exact, "exact"}, {CheckOnPolicy::Tolerance, "tolerance"}, {CheckOnPolicy::Off, "off"}};
  return kNames;
}

template <>
std::span<const EnumName<Recompute>> enum_names() {
  static constexpr EnumName<Recompute> kNames[] = {{Recompute::Auto, "auto"},
                                                   {Recompute::On, "on"},
                                                   {Recompute::Off, "off"},
                                                   {Recompute::On, "true"},  // TRL's gradient_checkpointing
                                                   {Recompute::Off, "false"}};
  return kNames;
}

}  // namespace grpo::inline GRPO_ABI
