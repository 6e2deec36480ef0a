#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include <grpo/algo.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
// Values of order 1, a few roundings.
constexpr double kRounding = 1e-14;

using Rows = std::vector<std::vector<double>>;  // [samples][rewards]

struct Grouping {
  std::vector<double> weights = {};  // empty: all 1
  std::vector<MissingReward> missing = {};
  std::vector<std::int64_t> offsets = {};  // empty: one group
  std::vector<std::uint8_t> absent = {};
};

AdvantageConfig exact(int ddof = 1) {
  AdvantageConfig config;
  config.ddof = ddof;
  config.eps = 0;
  return config;
}

AdvantageResult result_of(const Rows& rows, const AdvantageConfig& config, Grouping setup = {}) {
  std::vector<double> rewards;
  for (const std::vector<double>& row : rows) rewards.insert(rewards.end(), row.begin(), row.end());
  const std::size_t count = rows.empty() ? 1 : rows[0].size();
  if (setup.weights.empty()) setup.weights.assign(count, 1.0);
  if (setup.offsets.empty()) setup.offsets = {0, static_cast<std::int64_t>(rows.size())};
  return advantages({.rewards = rewards,
                     .num_rewards = count,
                     .weights = setup.weights,
                     .missing = setup.missing,
                     .group_offsets = setup.offsets,
                     .absent = setup.absent},
                    config);
}

Rows column(const std::vector<double>& values) {
  Rows rows;
  for (const double value : values) rows.push_back({value});
  return rows;
}

std::vector<double> advantages_of(const std::vector<double>& values, const AdvantageConfig& config,
                                  Grouping setup = {}) {
  return result_of(column(values), config, std::move(setup)).advantages;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance = kRounding) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << i;
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::User) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

TEST(Advantages, OneRightOfFourAndOfSixteen) {
  const double root3 = std::sqrt(3.0), root15 = std::sqrt(15.0);
  expect_near(advantages_of({1, 0, 0, 0}, exact(0)), {root3, -root3 / 3, -root3 / 3, -root3 / 3});
  expect_near(advantages_of({1, 0, 0, 0}, exact(1)), {1.5, -0.5, -0.5, -0.5});
  std::vector<double> sixteen(16, 0.0), want0(16, -root15 / 15), want1(16, -0.25);
  sixteen[3] = 1, want0[3] = root15, want1[3] = 3.75;
  expect_near(advantages_of(sixteen, exact(0)), want0);
  expect_near(advantages_of(sixteen, exact(1)), want1);
}

TEST(Advantages, TheDefaultAddsEpsToTheSampleStd) {
  expect_near(advantages_of({1, 0, 0, 0}, {}), {0.75 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001});
}

TEST(Advantages, WithoutScaleOnlyTheMeanIsTakenOff) {
  AdvantageConfig config = exact();
  config.scale_rewards = ScaleRewards::None;
  EXPECT_EQ(advantages_of({1, 0, 0, 3}, config), (std::vector<double>{0, -1, -1, 2}));
}

TEST(Advantages, BatchScaleIsTheStdOfTheWholeRollout) {
  AdvantageConfig config = exact();
  config.scale_rewards = ScaleRewards::Batch;
  const double std_of_all = std::sqrt(11.0 / 3);  // of {0, 2, 4, 4}, mean 2.5
  expect_near(advantages_of({0, 2, 4, 4}, config, {.offsets = {0, 2, 4}}), {-1 / std_of_all, 1 / std_of_all, 0, 0});
}

TEST(Advantages, LeaveOneOutTakesTheMeanOfTheOthers) {
  AdvantageConfig config = exact();
  config.baseline = Baseline::LeaveOneOut;
  config.scale_rewards = ScaleRewards::None;
  expect_near(advantages_of({1, 0, 0, 3}, config), {0, -4 / 3.0, -4 / 3.0, 8 / 3.0});
  expect_near(advantages_of({1, kNone, 4}, config), {-3, 0, 3});  // of those that are there
}

TEST(Advantages, GroupsMayDifferInSize) {
  expect_near(advantages_of({1, 0, 0, 0, 7, 1, 0}, exact(), {.offsets = {0, 4, 5, 7}}),
              {1.5, -0.5, -0.5, -0.5, 0, std::sqrt(0.5), -std::sqrt(0.5)});
  EXPECT_EQ(advantages_of({1, 0}, exact(), {.offsets = {0, 0, 2, 2}}).size(), 2u);
}

TEST(Advantages, EqualRewardsGiveExactlyZero) {
  AdvantageConfig batch = exact();
  batch.scale_rewards = ScaleRewards::Batch;
  for (const AdvantageConfig& config : {AdvantageConfig{}, exact(0), exact(1), batch}) {
    EXPECT_EQ(advantages_of({0.1, 0.1, 0.1}, config), std::vector<double>(3, 0.0));
    EXPECT_EQ(advantages_of({0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2}, config), std::vector<double>(4, 0.0));
  }
  // The same total from other parts: 1 x 0.1 + 1 x 0.2 against 1 x 0.3 + 1 x 0.
  const AdvantageResult result = result_of({{0.1, 0.2}, {0.3, 0.0}}, exact());
  EXPECT_EQ(result.advantages, std::vector<double>(2, 0.0));
  EXPECT_EQ(result.metrics.at("frac_reward_zero_std"), 1);
  EXPECT_EQ(result.included, std::vector<std::uint8_t>(2, 1));  // they stay: they still carry KL
}

// Large terms that cancel leave a residue of their own size.
TEST(Advantages, ResidueIsMeasuredAgainstTheTermsNotTheirSum) {
  EXPECT_EQ(result_of({{1e6 + 0.1, -1e6}, {0.1, 0.0}}, exact()).advantages, std::vector<double>(2, 0.0));
}

TEST(Advantages, SmallDifferencesAreSpread) {
  expect_near(advantages_of({1, 1 + 1e-9}, exact()), {-std::sqrt(0.5), std::sqrt(0.5)}, 1e-6);  // 1e-9 has seven digits
  expect_near(advantages_of({0, 1e-12}, exact()), {-std::sqrt(0.5), std::sqrt(0.5)});
  EXPECT_EQ(advantages_of({0, 1e-200}, exact()), std::vector<double>(2, 0.0));  // its square underflows: no scale
}

TEST(Advantages, NormalizeThenSumByHand) {
  AdvantageConfig config = exact();
  config.aggregation = Aggregation::NormalizeThenSum;
  // z-scores of {0, 2} and {5, 5}: -+ r, 0; of {1, 3} and {0, 1}: -+ r both, r = sqrt(1/2). Sums -3r, 3r, -2r, 2r;
  // std sqrt(13 / 3).
  const double r = std::sqrt(0.5) / std::sqrt(13.0 / 3);
  expect_near(result_of({{0, 1}, {2, 3}, {5, 0}, {5, 1}}, config, {.weights = {1, 2}, .offsets = {0, 2, 4}}).advantages,
              {-3 * r, 3 * r, -2 * r, 2 * r});
}

TEST(Advantages, NormalizeThenSumGivesZeroWhereTheSumHasNoSpread) {
  AdvantageConfig config = exact();
  config.aggregation = Aggregation::NormalizeThenSum;
  // First group: only a reward of weight 0 varies. Second: two rewards cancel. Third: something to learn.
  const AdvantageResult result = result_of({{1, 0, 0}, {1, 0, 9}, {0, 1, 0}, {1, 0, 0}, {0.1, 0, 0}, {0.7, 0, 0}},
                                           config, {.weights = {1, 1, 0}, .offsets = {0, 2, 4, 6}});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(result.advantages[i], 0);
  EXPECT_GT(result.advantages[5], 0.5);
  EXPECT_DOUBLE_EQ(result.metrics.at("frac_reward_zero_std"), 2 / 3.0);
  EXPECT_EQ(result_of({{0, 1}, {1, 0}}, config).advantages, std::vector<double>(2, 0.0));
}

// ---- missing rewards ------------------------------------------------------------------------------------------------

TEST(MissingRewards, OneOfEightLeavesTheGroupAsIfItHadSeven) {
  const std::vector<double> seven = {0.5, 0.1, -0.3, 0.9, 0.2, 0.7, -0.8};
  std::vector<double> eight = seven, want = advantages_of(seven, {});
  eight.push_back(kNone);
  want.push_back(0);
  const AdvantageResult result = result_of(column(eight), {});
  EXPECT_EQ(result.advantages, want);
  EXPECT_EQ(result.included, (std::vector<std::uint8_t>{1, 1, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(result.metrics.at("rewards/num_missing"), 1);
  EXPECT_TRUE(std::isnan(result.totals[7]));
}

TEST(MissingRewards, ExcludeTakesTheWholeSampleOut) {
  // The second reward of the last sample is missing, so its first does not count either.
  const Rows rows = {{1, 0.5}, {0, 0}, {9, kNone}}, without = {{1, 0.5}, {0, 0}};
  for (const Aggregation aggregation : {Aggregation::SumThenNormalize, Aggregation::NormalizeThenSum}) {
    AdvantageConfig config;
    config.aggregation = aggregation;
    std::vector<double> want = result_of(without, config, {.weights = {1, 0.4}}).advantages;
    want.push_back(0);
    const AdvantageResult result = result_of(rows, config, {.weights = {1, 0.4}});
    EXPECT_EQ(result.advantages, want);
    EXPECT_EQ(result.included[2], 0);
    EXPECT_DOUBLE_EQ(result.metrics.at("reward"), 0.6);
  }
}

TEST(MissingRewards, CenterAddsNothingForThatReward) {
  AdvantageConfig config = exact();
  config.scale_rewards = ScaleRewards::None;
  const std::vector<MissingReward> center(2, MissingReward::Center);
  // Second reward: 0 and 4 of those that have it; the third gets their mean 2.
  expect_near(result_of({{1, 0}, {0, 4}, {2, kNone}}, config, {.weights = {1, 0.5}, .missing = center}).advantages,
              {0 - 1, -1 + 1, 1});
  const AdvantageResult none = result_of({{1, kNone}, {0, kNone}}, config, {.missing = center});
  EXPECT_EQ(none.advantages, (std::vector<double>{0.5, -0.5}));
  EXPECT_EQ(result_of({{kNone, kNone}, {0, 1}}, config, {.missing = center}).included[0], 0);
}

// The mean that fills a gap is that of the samples that stay.
TEST(MissingRewards, CenterIgnoresExcludedSamples) {
  AdvantageConfig config = exact();
  config.scale_rewards = ScaleRewards::None;
  const std::vector<MissingReward> mixed = {MissingReward::Exclude, MissingReward::Center};
  expect_near(result_of({{1, 0}, {0, 4}, {2, kNone}, {kNone, 1000}}, config, {.missing = mixed}).advantages,
              {0 - 2, -1 + 2, 1, 0});
}

TEST(MissingRewards, ZeroIsTrlsNansum) {
  AdvantageConfig config = exact();
  config.scale_rewards = ScaleRewards::None;
  const std::vector<MissingReward> zero(2, MissingReward::Zero);
  expect_near(result_of({{1, 3}, {1, kNone}}, config, {.missing = zero}).advantages, {1.5, -1.5});
  EXPECT_EQ(result_of({{1, 3}, {kNone, kNone}}, config, {.missing = zero}).included[1], 0);
}

TEST(MissingRewards, AGroupWithoutScoresHasNoAdvantage) {
  const AdvantageResult result = result_of(column({kNone, kNone, 1, 0}), exact(), {.offsets = {0, 2, 4}});
  expect_near(result.advantages, {0, 0, std::sqrt(0.5), -std::sqrt(0.5)});
  EXPECT_EQ(result.included, (std::vector<std::uint8_t>{0, 0, 1, 1}));
  EXPECT_EQ(result.metrics.at("frac_reward_zero_std"), 0.5);
  const AdvantageResult nothing = result_of(column({kNone, kNone}), exact());
  EXPECT_EQ(nothing.advantages, std::vector<double>(2, 0.0));
  EXPECT_TRUE(std::isnan(nothing.metrics.at("reward")));
}

TEST(MissingRewards, FewerThanTwoScoresGiveNoAdvantage) {
  AdvantageConfig batch;
  batch.scale_rewards = ScaleRewards::Batch;
  for (const AdvantageConfig& config : {AdvantageConfig{}, exact(0), exact(1), batch}) {
    EXPECT_EQ(advantages_of({5, kNone}, config), std::vector<double>(2, 0.0));
    EXPECT_EQ(advantages_of({5}, config), std::vector<double>(1, 0.0));  // G = 1
    EXPECT_EQ(advantages_of({5, 3}, config, {.offsets = {0, 1, 2}}), std::vector<double>(2, 0.0));
  }
}

TEST(MissingRewards, AnAbsentRewardHasNoEffectInItsGroup) {
  // Group 1 does not have the second reward; what stands there is not read.
  const std::vector<std::uint8_t> absent = {0, 0, 0, 1};
  for (const double filler : {kNone, 0.0, 1e300}) {
    SCOPED_TRACE(filler);
    const AdvantageResult result =
        result_of({{1, 2}, {0, 0}, {1, filler}, {0, filler}}, exact(), {.offsets = {0, 2, 4}, .absent = absent});
    const double r = std::sqrt(0.5);
    expect_near(result.advantages, {r, -r, r, -r});
    expect_near(result.totals, {3, 0, 1, 0});
    EXPECT_EQ(result.included, std::vector<std::uint8_t>(4, 1));
  }
  EXPECT_EQ(result_of(column({1, 0}), exact(), {.absent = {1}}).included, std::vector<std::uint8_t>(2, 0));
}

TEST(MissingRewards, TheOrderOfAGroupDoesNotMatter) {
  const Rows rows = {{1, 0.5}, {0, kNone}, {0.25, 0}, {kNone, 2}, {2, -1}};
  const std::vector<MissingReward> missing = {MissingReward::Exclude, MissingReward::Center};
  for (const Aggregation aggregation : {Aggregation::SumThenNormalize, Aggregation::NormalizeThenSum}) {
    AdvantageConfig config;
    config.aggregation = aggregation;
    const std::vector<double> want = result_of(rows, config, {.missing = missing}).advantages;
    std::vector<std::size_t> order(rows.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    do {
      Rows moved;
      std::vector<double> expected;
      for (const std::size_t i : order) {
        moved.push_back(rows[i]);
        expected.push_back(want[i]);
      }
      expect_near(result_of(moved, config, {.missing = missing}).advantages, expected);
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST(Advantages, MetricsOfTheRollout) {
  const AdvantageResult result = result_of(column({1, 0, kNone, 3, 3, 3}), {}, {.offsets = {0, 3, 6}});
  EXPECT_DOUBLE_EQ(result.metrics.at("reward"), 2);
  EXPECT_DOUBLE_EQ(result.metrics.at("reward_std"), std::sqrt(8.0 / 4));  // over all, ddof 1
  EXPECT_EQ(result.metrics.at("frac_reward_zero_std"), 0.5);
  EXPECT_EQ(result.metrics.at("rewards/num_missing"), 1);
}

TEST(Advantages, BadInputIsRefused) {
  const auto refused = [](const Rows& rows, const AdvantageConfig& config = {}, const Grouping& setup = {}) {
    return error_of([&] { result_of(rows, config, setup); });
  };
  EXPECT_EQ(refused({{0, 1}, {2, INFINITY}}), "advantages: reward 1 of sample 1 is infinite");
  refused(column({-INFINITY}));
  refused({{1e308, 1e308}, {0, 0}});  // the sum overflows
  refused(column({0}), {}, {.weights = {NAN}});
  refused(column({0}), {}, {.weights = {1, 1}});
  refused(column({0}), {}, {.missing = {MissingReward::Zero, MissingReward::Zero}});
  refused(column({0, 1}), {}, {.offsets = {0, 1}});
  refused(column({0, 1}), {}, {.offsets = {0, 3, 2}});
  refused(column({0, 1}), {}, {.absent = {0, 0}});
  refused(column({0, 1}), exact(2));
  AdvantageConfig config;
  config.eps = -1;
  refused(column({0, 1}), config);
  config = {};
  config.aggregation = Aggregation::NormalizeThenSum;
  config.baseline = Baseline::LeaveOneOut;
  refused(column({0, 1}), config);
  config.baseline = Baseline::Mean;
  config.scale_rewards = ScaleRewards::None;
  refused(column({0, 1}), config);
}

// ---- process supervision --------------------------------------------------------------------------------------------

// Step rewards 1, 0 of the first answer and 1 of the second: mean 2/3, population std sqrt(2)/3.
TEST(ProcessAdvantages, SumOverTheStepsThatEndAtOrAfterAToken) {
  const std::vector<StepReward> steps = {{0, 1, 1.0}, {0, 3, 0.0}, {1, 2, 1.0}};
  const std::vector<std::int64_t> lengths = {5, 3};
  const double r = std::sqrt(0.5);
  std::vector<std::vector<double>> got = process_advantages(steps, lengths, exact(0));
  ASSERT_EQ(got.size(), 2u);
  expect_near(got[0], {-r, -r, -2 * r, -2 * r, 0});
  expect_near(got[1], {r, r, r});
  AdvantageConfig config = exact();
  config.scale_rewards = ScaleRewards::None;
  got = process_advantages(steps, lengths, config);
  expect_near(got[0], {-1 / 3.0, -1 / 3.0, -2 / 3.0, -2 / 3.0, 0});
}

TEST(ProcessAdvantages, NoSpreadNoAdvantage) {
  const std::vector<StepReward> equal = {{0, 0, 0.3}, {0, 1, 0.1 + 0.2}}, one = {{0, 1, 7}};
  for (const std::vector<StepReward>& steps : {equal, one, {}})
    EXPECT_EQ(process_advantages(steps, std::vector<std::int64_t>{2}, exact()),
              (std::vector<std::vector<double>>{{0, 0}}));
  EXPECT_TRUE(process_advantages({}, {}, exact()).empty());
}

TEST(ProcessAdvantages, BadStepsAreRefused) {
  const std::vector<std::int64_t> lengths = {2, 1};
  for (const StepReward& step : {StepReward{2, 0, 1}, {-1, 0, 1}, {1, 1, 1}, {0, -1, 1}, {0, 0, INFINITY}, {0, 0, NAN}})
    error_of([&] { process_advantages(std::vector<StepReward>{step}, lengths, {}); });
  EXPECT_EQ(error_of([&] {
              process_advantages(std::vector<StepReward>{{2, 0, 1}}, lengths, {});
            }),
            "process_advantages: step of sample 2 of 2");
  AdvantageConfig config;
  config.scale_rewards = ScaleRewards::Batch;
  error_of([&] { process_advantages({}, lengths, config); });
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
