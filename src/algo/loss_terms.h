// What one ratio adds to the loss, and its slopes. Equations: docs/algorithms.md.
#pragma once

#include <grpo/config.h>

namespace grpo::inline GRPO_ABI {

// The exponent of a ratio is held in [-20, 20], so that no exp overflows; beyond, the ratio is constant.
struct LogRatio {
  double value = 0;
  bool inside = true;
};
LogRatio clamp_log_ratio(double log_ratio);

struct KlTerm {
  double value = 0;
  double slope = 0;  // with respect to log pi
};
// Of distance = log pi_ref - log pi.
KlTerm kl_term(KlEstimator estimator, double distance);

enum class ClipSide { None, Low, High };

struct PolicyTerm {
  double value = 0;
  double slope = 0;         // with respect to the log-ratio
  double direct_slope = 0;  // with respect to log pi itself, past the ratio (cispo)
  ClipSide clip = ClipSide::None;
};
// Of every objective but gmpo, whose ratio is the sequence's.
PolicyTerm policy_term(const LossConfig& config, double log_ratio, double logp, double advantage);

// A token's log-ratio in gmpo, clipped on its harmful side.
struct GmpoRatio {
  double log_ratio = 0;
  ClipSide clip = ClipSide::None;
  bool moves = true;  // false: the clip holds it
};
GmpoRatio gmpo_ratio(const LossConfig& config, double log_ratio, double advantage);

}  // namespace grpo::inline GRPO_ABI
