#include "pipeline/summary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/tensors.h"

namespace grpo::testing {
namespace {

TEST(PassAtK, HasTheValuesWorkedOutByHand) {
  EXPECT_EQ(pass_at_k(1, 0, 1), 0);
  EXPECT_EQ(pass_at_k(1, 1, 1), 1);
  EXPECT_DOUBLE_EQ(pass_at_k(10, 3, 1), 0.3);
  EXPECT_DOUBLE_EQ(pass_at_k(4, 1, 2), 0.5);                 // 1 - C(3,2) / C(4,2)
  EXPECT_DOUBLE_EQ(pass_at_k(5, 2, 3), 0.9);                 // 1 - C(3,3) / C(5,3)
  EXPECT_DOUBLE_EQ(pass_at_k(16, 4, 8), 1 - 495.0 / 12870);  // C(12,8), C(16,8)
  EXPECT_DOUBLE_EQ(pass_at_k(10, 3, 5), 11.0 / 12);          // 1 - C(7,5) / C(10,5)
  EXPECT_EQ(pass_at_k(5, 3, 3), 1);
  EXPECT_EQ(pass_at_k(7, 0, 7), 0);
  EXPECT_NEAR(pass_at_k(100000, 1, 500), 0.005, 1e-12);
  for (const auto& [n, c, k] :
       std::vector<std::array<std::int64_t, 3>>{{0, 0, 1}, {3, 4, 1}, {3, -1, 1}, {3, 1, 0}, {3, 1, 4}})
    error_of([&, n = n, c = c, k = k] { pass_at_k(n, c, k); });
}

struct Draw {
  std::string text;
  int length = 1;  // tokens
  FinishReason finish_reason = FinishReason::Stop;
};

// One problem after another with its draws, scored by `accuracy`.
class Summary : public ::testing::Test {
 protected:
  void add(const std::string& reference, const std::vector<Draw>& draws) {
    RolloutGroup& group = groups_.emplace_back();
    group.prompt.row = 10 * groups_.size();
    group.prompt.text = "problem " + std::to_string(groups_.size());
    group.prompt.answer = reference;
    group.absent = {0};
    request_.num_generations = static_cast<int>(draws.size());
    std::vector<std::vector<std::shared_ptr<const RewardInput::Data>>> inputs(1);
    for (const Draw& draw : draws) {
      Completion& completion = group.completions.emplace_back();
      completion.text = draw.text;
      completion.ids.assign(static_cast<std::size_t>(draw.length), 1);
      completion.finish_reason = draw.finish_reason;
      inputs[0].push_back(reward_input(group, completion, rewards_, request_));
    }
    const std::vector<GroupScores> scores = rewards_.score(inputs, true);
    for (const std::vector<Verdict>& verdicts : scores[0].verdicts) group.rewards.push_back({verdicts[0].score});
  }
  void add_answers(const std::string& reference, const std::vector<std::string>& answers) {
    std::vector<Draw> draws;
    for (const std::string& answer : answers)
      draws.push_back({answer.empty() ? "no answer" : "so \\boxed{" + answer + "}"});
    add(reference, draws);
  }
  Evaluation summary() const { return summarise(groups_, rewards_, 0, request_); }
  // cons@k of one problem.
  double vote(const std::string& reference, const std::vector<std::string>& answers) {
    groups_.clear();
    add_answers(reference, answers);
    return summary().cons_at_k;
  }

 private:
  static RewardSet accuracy() {
    RewardEntry entry;
    entry.name = "accuracy";
    return RewardSet(std::vector{entry}, std::nullopt, 0.1, ThinkMode::Auto);
  }
  RewardSet rewards_ = accuracy();
  SampleAndScore request_;
  std::vector<RolloutGroup> groups_;
};

TEST_F(Summary, OfAKnownDistributionIsExact) {
  //                       right   share  any  majority
  add_answers("5", {"5", "5", "4", "3"});    // 2   0.5   1    5: right
  add_answers("7", {"1", "1", "7", "2"});    // 1   0.25  1    1: wrong
  add_answers("1/3", {"2", "9", "8", "7"});  // 0   0     0    2: the first of a tie
  add_answers("9", {"9", "9.0", "18/2", "$9$"});
  add_answers("6", {"", "", "", "6"});  // only one vote
  const Evaluation result = summary();
  EXPECT_EQ(result.n, 5);
  EXPECT_EQ(result.k, 4);
  EXPECT_DOUBLE_EQ(result.pass_at_1, 0.4);  // 0.5, 0.25, 0, 1, 0.25
  // Squares about 0.4: 0.01 + 0.0225 + 0.16 + 0.36 + 0.0225 = 0.575, over n - 1 and n.
  EXPECT_DOUBLE_EQ(result.standard_error, std::sqrt(0.575 / 4 / 5));
  EXPECT_DOUBLE_EQ(result.pass_at_k, 0.8);
  EXPECT_DOUBLE_EQ(result.cons_at_k, 0.6);
  ASSERT_EQ(result.problems.size(), 5u);
  EXPECT_EQ(result.problems[1].row, 20u);
  EXPECT_EQ(result.problems[1].pass_at_1, 0.25);
  ASSERT_EQ(result.first_samples.size(), 5u);
  EXPECT_EQ(result.first_samples[1].completion, "so \\boxed{1}");
  EXPECT_EQ(result.first_samples[3].score, 1);
}

TEST_F(Summary, CountsLengthsAndTruncation) {
  add("1", {{"\\boxed{1}", 3}, {"<think>never ends", 9, FinishReason::Length}});
  add("1", {{"\\boxed{2}", 5}, {"\\boxed{1}", 4}});
  add("1", {{"\\boxed{1", 9, FinishReason::Length}, {"\\boxed{1}", 6, FinishReason::Length}});
  const Evaluation result = summary();
  EXPECT_DOUBLE_EQ(result.mean_length, 36.0 / 6);
  EXPECT_DOUBLE_EQ(result.truncated, 0.5);
  EXPECT_DOUBLE_EQ(result.pass_at_1, 0.5);
  EXPECT_EQ(result.standard_error, 0);  // every problem has the same share
}

TEST_F(Summary, OfOneProblemHasNoError) {
  add_answers("1", {"1", "2", "3"});
  EXPECT_DOUBLE_EQ(summary().pass_at_1, 1.0 / 3);
  EXPECT_EQ(summary().standard_error, 0);
}

TEST_F(Summary, VotesForValuesNotSpellings) {
  EXPECT_EQ(vote("0.5", {"3", "1/2", "0.5"}), 1);  // two against one; as text all three tie and 3 wins
  EXPECT_EQ(vote("1/2", {"3", "3", "\\frac{2}{4}", ".50", "50e-2"}), 1);
  EXPECT_EQ(vote("3", {"3", "3.0", "1/2", "0.5", "2/4"}), 0);      // three against two
  EXPECT_EQ(vote("1000", {"7", "7", "1,000", "1e3", "10^3"}), 0);  // 10^3 is no number here: 2 to 2, the first seen
  EXPECT_EQ(vote("5", {"4", "x = 5", "$5$"}), 1);
  EXPECT_EQ(vote("50%", {"4", "50\\%", "50"}), 1);
  EXPECT_EQ(vote("50%", {"4", "0.5", "50%"}), 0);  // a bare number is not scaled
  EXPECT_EQ(vote("Paris", {"Rome", "paris", "\\text{PARIS}"}), 1);
  EXPECT_EQ(vote("2/3", {"0.6666666667", "0.6666666667", "2/3"}), 0);  // near is not equal
}

TEST_F(Summary, TiesGoToTheFirstSeen) {
  EXPECT_EQ(vote("2", {"2", "1", "1", "2"}), 1);
  EXPECT_EQ(vote("2", {"1", "2", "2", "1"}), 0);
  EXPECT_EQ(vote("2", {"", "2", "1", ""}), 1);
  EXPECT_EQ(vote("2", {"", "", "", ""}), 0);
}

}  // namespace
}  // namespace grpo::testing
