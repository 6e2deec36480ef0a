// soft_overlong: a penalty for answers that come near the length limit (DAPO, equation 13).
//
//   0 up to L - c tokens, (L - c - len) / c up to L, -1 beyond; L = max_completion_length, c = soft_punish_cache
#include <limits>
#include <memory>
#include <utility>

#include "base/fields.h"
#include "reward/params.h"
#include "reward/registry.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct OverlongParams {
  std::int64_t max_completion_length = 0;
  std::int64_t soft_punish_cache = 0;
};

const fields::Fields<OverlongParams>& overlong_fields() {
  using S = OverlongParams;
  static const fields::Fields<S> rows = {
      fields::integer("max_completion_length", &S::max_completion_length, fields::at_least(1), "L, in tokens"),
      fields::integer("soft_punish_cache", &S::soft_punish_cache, fields::at_least(0), "c; 0: no slope, -1 beyond L"),
  };
  return rows;
}

class SoftOverlong final : public Reward {
 public:
  SoftOverlong(std::string name, OverlongParams params) : name_(std::move(name)), params_(params) {}

  std::string_view name() const override { return name_; }
  RewardRange range() const override { return {-1, 0}; }
  double score(const RewardInput& input) const override { return judge(input).score; }

  Verdict judge(const RewardInput& input) const override {
    const auto length = static_cast<std::int64_t>(input.token_ids().size());
    if (length == 0)
      return {std::numeric_limits<double>::quiet_NaN(), "no_tokens", "the answer came without token ids"};
    const std::int64_t limit = params_.max_completion_length, cache = params_.soft_punish_cache;
    const std::string why = std::to_string(length) + " of " + std::to_string(limit) + " tokens";
    if (length <= limit - cache) return {0, "short_enough", why};
    if (length > limit) return {-1, "overlong", why};
    return {static_cast<double>(limit - cache - length) / static_cast<double>(cache), "near_limit", why};
  }

 private:
  std::string name_;
  OverlongParams params_;
};

}  // namespace

std::unique_ptr<Reward> make_soft_overlong(const std::string& name, const Json& params, const RewardContext&) {
  OverlongParams chosen;
  const fields::FieldContext context = params_context(name);
  fields::read_fields(overlong_fields(), chosen, params.is_null() ? Json(Json::Object{}) : params, context);
  for (const auto& field : overlong_fields()) {
    if (!params.find(field.info.name)) missing_param(params, context, field.info.name, field.info.type);
  }
  if (chosen.soft_punish_cache > chosen.max_completion_length) {
    fields::field_error(params.at("soft_punish_cache"), context.child("soft_punish_cache"),
                        "at most max_completion_length (" + std::to_string(chosen.max_completion_length) + ")");
  }
  return std::make_unique<SoftOverlong>(name, chosen);
}

}  // namespace grpo::inline GRPO_ABI
