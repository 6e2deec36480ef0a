// Against TRL 1.16's own code in float64 (golden/algo/make.py), with TRL's own denominators.
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include <grpo/algo.h>
#include <grpo/json.h>

#include "algo/loss_cases.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::OwnedBatch;

// Both sides add the same few dozen terms below 100 in double in another order: some 1e-13.
constexpr double kTolerance = 1e-9;
// TRL counts clipped tokens in fp32: one rounding of a share of at most 1.
constexpr double kShareTolerance = 6e-8;

const Json& golden() {
  static const Json tree = [] {
    std::ifstream file(GRPO_SOURCE_DIR "/tests/golden/algo/trl.json");
    std::stringstream text;
    text << file.rdbuf();
    return parse_json(text.str(), {.source = "trl.json"});
  }();
  return tree;
}

std::vector<double> flat(const Json& list) {
  std::vector<double> values;
  for (const Json& item : list.as_list()) {
    if (!item.is_list()) {
      values.push_back(item.as_double());
      continue;
    }
    const std::vector<double> inner = flat(item);
    values.insert(values.end(), inner.begin(), inner.end());
  }
  return values;
}

OwnedBatch batch_of(const Json& test) {
  const Json& source = golden().at("batches").at(test.at("batch").as_string());
  const auto given = [&](const char* name) {
    for (const Json& each : test.at("given").as_list())
      if (each.as_string() == name) return flat(source.at(name));
    return std::vector<double>();
  };
  OwnedBatch batch;
  batch.logps = given("logps");
  batch.old_logps = given("old_logps");
  batch.ref_logps = given("ref_logps");
  batch.sampler_logps = given("sampler_logps");
  batch.entropies = given("entropies");
  for (const double value : flat(source.at("mask"))) batch.mask.push_back(value != 0);
  const Json::List& rows = source.at("mask").as_list();
  batch.offsets = {0};
  for (const Json& row : rows) batch.offsets.push_back(batch.offsets.back() + static_cast<std::int64_t>(row.size()));
  batch.advantages = flat(source.at("advantages"));
  if (batch.advantages.size() == rows.size()) {
    std::vector<double> by_token;
    for (std::size_t s = 0; s < rows.size(); ++s) by_token.insert(by_token.end(), rows[s].size(), batch.advantages[s]);
    batch.advantages = by_token;
  }
  return batch;
}

void expect_values(const std::vector<double>& got, const std::vector<double>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], kTolerance) << what << " " << i;
}

void expect_metrics(const std::map<std::string, double>& got, const Json& want) {
  for (const auto& [name, value] : want.as_object()) {
    ASSERT_TRUE(got.contains(name)) << name;
    const bool is_share = name.find("clip_ratio") != std::string::npos || name == "frac_reward_zero_std";
    EXPECT_NEAR(got.at(name), value.as_double(), is_share ? kShareTolerance : kTolerance) << name;
  }
}

TEST(TrlGolden, LossesGradientsAndMetrics) {
  for (const Json& test : golden().at("losses").as_list()) {
    SCOPED_TRACE(test.at("name").as_string());
    const LossConfig config = grpo_section_from_tree(test.at("config")).loss;
    const Json& denominators = test.at("denominators");
    const LossResult result =
        policy_loss(batch_of(test).view(), config,
                    {denominators.at("sequences").as_double(), denominators.at("tokens").as_double()});
    EXPECT_NEAR(result.loss, test.at("loss").as_double(), kTolerance);
    expect_values(result.grad, flat(test.at("grad")), "grad");
    if (const Json* entropy_grad = test.find("entropy_grad"))
      expect_values(result.entropy_grad, flat(*entropy_grad), "entropy_grad");
    expect_metrics(finish_loss_metrics(result.sums), test.at("metrics"));
  }
}

TEST(TrlGolden, Advantages) {
  for (const Json& test : golden().at("advantages").as_list()) {
    SCOPED_TRACE(test.at("name").as_string());
    const Json& row = test.at("row");
    std::vector<double> rewards;
    for (const Json& sample : row.at("rewards").as_list())
      for (const Json& value : sample.as_list()) rewards.push_back(value.is_null() ? NAN : value.as_double());
    const std::vector<double> weights = flat(row.at("weights"));
    std::vector<std::int64_t> offsets;
    const std::int64_t group = row.at("num_generations").as_int();
    for (std::int64_t i = 0; i <= static_cast<std::int64_t>(row.at("rewards").size()); i += group) offsets.push_back(i);
    Json section = Json::Object{};
    for (const char* key : {"scale_rewards", "aggregation"}) section[key] = row.at(key);
    const std::vector<MissingReward> missing(weights.size(), MissingReward::Zero);
    const AdvantageResult result = advantages({.rewards = rewards,
                                               .num_rewards = weights.size(),
                                               .weights = weights,
                                               .missing = missing,
                                               .group_offsets = offsets,
                                               .absent = {}},
                                              grpo_section_from_tree(section).advantage);
    expect_values(result.advantages, flat(test.at("advantages")), "advantages");
    expect_metrics(result.metrics, test.at("metrics"));
  }
}

TEST(TrlGolden, CoversWhatTheyShare) {
  std::string names;
  for (const Json& test : golden().at("losses").as_list()) names += test.at("name").as_string() + ";";
  for (const char* name : {"grpo;", "dr_grpo;", "dapo;", "bnpo;", "cispo;", "sapo;", "gmpo;", "grpo, sequence;",
                           "delta;", "bias correction;", "entropy;", "sequence_mask;"})
    EXPECT_NE(names.find(name), std::string::npos) << name;
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
