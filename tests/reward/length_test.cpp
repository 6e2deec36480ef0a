#include <gtest/gtest.h>

#include <cmath>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::entry;
using test::error_of;
using test::Group;
using test::reward_set;

std::shared_ptr<const RewardInput::Data> answer(const std::string& text, std::size_t tokens, std::string gold = "5") {
  auto made = data("<answer>" + text + "</answer>", std::move(gold));
  made->token_ids.assign(tokens, 7);
  return made;
}

std::vector<double> scores_of(const Group& group) {
  RewardSet set = reward_set({entry("length")});
  return set.score(std::vector<Group>{group}, true)[0].totals;
}

TEST(Length, RightAnswersGetLambdaWrongOnesOnlyItsNegativePart) {
  // Lengths 10, 20, 50 and a spread of 40: lambda is 1/2, 1/4, -1/2.
  EXPECT_EQ(scores_of({answer("5", 10), answer("5", 20), answer("5", 50)}), (std::vector<double>{0.5, 0.25, -0.5}));
  EXPECT_EQ(scores_of({answer("6", 10), answer("6", 20), answer("6", 50)}), (std::vector<double>{0, 0, -0.5}));
  EXPECT_EQ(scores_of({answer("5", 30), answer("6", 40), answer("5", 10)}),
            (std::vector<double>{0.5 - 2.0 / 3, -0.5, 0.5}));
}

TEST(Length, IsOfTheGroupNotOfTheBatch) {
  RewardSet set = reward_set({entry("length")});
  const auto scores =
      set.score(std::vector<Group>{{answer("5", 10), answer("5", 20)}, {answer("5", 100), answer("5", 90)}}, true);
  EXPECT_EQ(scores[0].totals, (std::vector<double>{0.5, -0.5}));
  EXPECT_EQ(scores[1].totals, (std::vector<double>{-0.5, 0.5}));
}

TEST(Length, EqualLengthsSayNothing) {
  EXPECT_EQ(scores_of({answer("5", 10), answer("6", 10)}), (std::vector<double>{0, 0}));
  EXPECT_EQ(scores_of({answer("5", 10)}), std::vector<double>{0});
}

TEST(Length, CharactersWhereTokensAreMissing) {
  // 18, 19 and 20 characters; "é" is one.
  const Group group = {answer("5", 0), answer("é5", 9), answer("5  ", 9)};
  const std::vector<double> scores = scores_of(group);
  EXPECT_EQ(scores, (std::vector<double>{0.5, 0, -0.5}));
}

TEST(Length, ReferenceThatCannotBeReadIsNotRight) {
  const std::vector<double> scores = scores_of({answer("5", 10, "1/0"), answer("5", 20, "1/0")});
  EXPECT_TRUE(std::isnan(scores[0]) && std::isnan(scores[1]));
  RewardSet set = reward_set({entry("length")});
  EXPECT_NE(error_of([&] { set.check_row(Json(), "1/0"); }), "");
}

TEST(Length, TakesAccuracysParams) {
  RewardSet set = reward_set({entry("length", "", parse_yaml("extract: [last_number]"))});
  auto made = data("it is 5", "5");
  made->token_ids = {1, 2};
  auto longer = data("it is surely 5", "5");
  longer->token_ids = {1, 2, 3};
  EXPECT_EQ(set.score(std::vector<Group>{{made, longer}}, true)[0].totals, (std::vector<double>{0.5, -0.5}));
  EXPECT_NE(error_of([] { reward_set({entry("length", "", parse_yaml("extracts: []"))}); }).find("did you mean"),
            std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
