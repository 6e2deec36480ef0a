// A loss batch that owns its values, and the settings that the tests walk through.
#pragma once

#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <grpo/algo.h>

namespace grpo::testing {

struct OwnedBatch {
  std::vector<double> logps, old_logps, ref_logps, sampler_logps, entropies, advantages;
  std::vector<std::uint8_t> mask;
  std::vector<std::int64_t> offsets;

  LossBatch view() const {
    return {.logps = logps,
            .old_logps = old_logps,
            .ref_logps = ref_logps,
            .sampler_logps = sampler_logps,
            .entropies = entropies,
            .advantages = advantages,
            .mask = mask,
            .offsets = offsets};
  }
  Denominators denominators() const { return count_denominators(mask, offsets); }

  // Completions [first, last).
  OwnedBatch part(std::size_t first, std::size_t last) const {
    const auto cut = [&](const auto& all) {
      if (all.empty()) return all;
      return std::decay_t<decltype(all)>(all.begin() + offsets[first], all.begin() + offsets[last]);
    };
    OwnedBatch result{cut(logps),     cut(old_logps),  cut(ref_logps), cut(sampler_logps),
                      cut(entropies), cut(advantages), cut(mask),      {}};
    for (std::size_t s = first; s <= last; ++s) result.offsets.push_back(offsets[s] - offsets[first]);
    return result;
  }
};

// Five completions of 0 to 7 tokens, some masked, one as a whole; one advantage per completion.
inline OwnedBatch random_batch(unsigned seed, double spread = 0.4) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::uniform_real_distribution<double> uniform(0, 1);
  OwnedBatch batch;
  batch.offsets = {0};
  for (const int length : {5, 0, 7, 3, 6}) {
    double advantage = batch.offsets.size() % 2 == 0 ? 1 : -1;
    advantage *= 0.3 + uniform(random);
    for (int t = 0; t < length; ++t) {
      const double logp = -0.1 - 2 * uniform(random);
      batch.logps.push_back(logp);
      batch.old_logps.push_back(logp - spread * normal(random));
      batch.ref_logps.push_back(logp + 0.5 * normal(random));
      batch.sampler_logps.push_back(batch.old_logps.back() - 0.4 * normal(random));
      batch.entropies.push_back(2 * uniform(random));
      batch.advantages.push_back(advantage);
      batch.mask.push_back(length != 3 && t != 1);
    }
    batch.offsets.push_back(static_cast<std::int64_t>(batch.logps.size()));
  }
  return batch;
}

struct LossCase {
  std::string name;
  LossConfig config;
};

inline LossConfig loss_config(LossType type, RatioLevel level = RatioLevel::Token, double beta = 0) {
  LossConfig config;
  config.loss_type = type;
  config.importance_sampling_level = level;
  config.beta = beta;
  config.max_completion_length = 9;
  if (type == LossType::Cispo) config.epsilon_high = 1.2;
  return config;
}

// Every objective at every ratio level that it has, and every option.
inline std::vector<LossCase> all_loss_cases() {
  std::vector<LossCase> cases;
  const std::vector<std::pair<std::string, LossType>> types = {
      {"grpo", LossType::Grpo},   {"dr_grpo", LossType::DrGrpo}, {"dapo", LossType::Dapo}, {"bnpo", LossType::Bnpo},
      {"cispo", LossType::Cispo}, {"gspo", LossType::Gspo},      {"sapo", LossType::Sapo}, {"gmpo", LossType::Gmpo}};
  for (const auto& [name, type] : types) {
    cases.push_back({name, loss_config(type)});
    if (type == LossType::Gmpo || type == LossType::Gspo) continue;
    cases.push_back({name + " sequence", loss_config(type, RatioLevel::Sequence)});
    cases.push_back({name + " sequence_product", loss_config(type, RatioLevel::SequenceProduct)});
  }
  const std::vector<std::pair<std::string, KlEstimator>> estimators = {
      {"k1", KlEstimator::K1}, {"k2", KlEstimator::K2}, {"k3", KlEstimator::K3}};
  for (const auto& [name, estimator] : estimators)
    for (const bool corrected : {false, true})
      for (const RatioLevel level : {RatioLevel::Token, RatioLevel::Sequence, RatioLevel::SequenceProduct}) {
        LossConfig config = loss_config(LossType::Grpo, level, 0.3);
        config.kl_estimator = estimator;
        config.use_bias_correction_kl = corrected;
        cases.push_back({name + (corrected ? " corrected " : " ") + std::to_string(static_cast<int>(level)), config});
      }
  const auto add = [&](const std::string& name, LossType type, RatioLevel level, const auto& change) {
    LossConfig config = loss_config(type, level, 0.1);
    change(config);
    cases.push_back({name, config});
  };
  const auto token = RatioLevel::Token;
  add("asymmetric", LossType::Grpo, token, [](LossConfig& c) { c.epsilon = 0.1, c.epsilon_high = 0.4; });
  add("epsilon 10", LossType::Grpo, token, [](LossConfig& c) { c.epsilon = 10; });
  add("delta", LossType::Dapo, token, [](LossConfig& c) { c.delta = 1.4; });
  add("dual clip", LossType::Grpo, token, [](LossConfig& c) { c.dual_clip = 1.3; });
  add("sapo temperatures", LossType::Sapo, token,
      [](LossConfig& c) { c.sapo_temperature_pos = 0.6, c.sapo_temperature_neg = 3; });
  add("gmpo asymmetric", LossType::Gmpo, token, [](LossConfig& c) { c.epsilon = 0.3, c.epsilon_high = 0.1; });
  add("gmpo corrected kl", LossType::Gmpo, token, [](LossConfig& c) { c.use_bias_correction_kl = true; });
  add("entropy", LossType::DrGrpo, token, [](LossConfig& c) { c.entropy_coef = 0.2; });
  add("negative entropy", LossType::Grpo, token, [](LossConfig& c) { c.entropy_coef = -0.2; });
  const std::vector<std::pair<std::string, SamplerCorrection>> modes = {
      {"token_truncate", SamplerCorrection::TokenTruncate},
      {"token_mask", SamplerCorrection::TokenMask},
      {"sequence_truncate", SamplerCorrection::SequenceTruncate},
      {"sequence_mask", SamplerCorrection::SequenceMask}};
  const std::vector<std::pair<LossType, RatioLevel>> corrected = {{LossType::Grpo, token},
                                                                  {LossType::Gspo, RatioLevel::Sequence},
                                                                  {LossType::Gmpo, token},
                                                                  {LossType::Cispo, token},
                                                                  {LossType::Cispo, RatioLevel::Sequence}};
  for (const auto& [name, mode] : modes)
    for (const auto& [type, level] : corrected)
      add(name + " " + std::to_string(static_cast<int>(type)), type, level, [mode = mode](LossConfig& c) {
        c.sampler_correction = mode;
        c.sampler_correction_min = 0.7;
        c.sampler_correction_max = 1.6;
      });
  return cases;
}

}  // namespace grpo::testing
