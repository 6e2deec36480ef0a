#include <gtest/gtest.h>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct SegmentCase {
  const char* completion;
  const char* prompt;
  ThinkMode mode;
  const char* think;
  const char* final_segment;  // null: none
};

TEST(Segments, FollowTheContract) {
  const ThinkMode automatic = ThinkMode::Auto, required = ThinkMode::Required, none = ThinkMode::None;
  const SegmentCase cases[] = {
      {"5", "", automatic, "", "5"},
      {"", "", automatic, "", ""},
      {"<think>a</think>5", "", automatic, "a", "5"},
      {"<think>a</think> b </think>5", "", automatic, "a</think> b ", "5"},
      {"<think>a", "", automatic, "a", nullptr},
      {"a</think>5", "", automatic, "a", "5"},
      {"a</think>5", "Q\n<think>\n", automatic, "a", "5"},
      {"a 5", "Q\n<think>\n", automatic, "a 5", nullptr},
      {"5", "<think> </think> tags. User: q", automatic, "", "5"},  // the tags of the r1_zero prompt are closed
      {"x<think>a</think>5", "", automatic, "a", "5"},
      {"<think>a</think>5<think>b", "", automatic, "a</think>5<think>b", nullptr},  // opened again, never closed
      {"<think>a</think>5<think>b</think>6", "", automatic, "a</think>5<think>b", "6"},
      {"<think></think>5", "", automatic, "", "5"},
      {"<THINK>a</THINK>5", "", automatic, "", "<THINK>a</THINK>5"},
      {"< think >5", "", automatic, "", "< think >5"},
      {"5", "", required, "", nullptr},
      {"<think>a</think>5", "", required, "a", "5"},
      {"a</think>5", "", required, "a", "5"},
      {"<think>a</think>5", "", none, "", "<think>a</think>5"},
      {"a", "<think>", none, "", "a"},
  };
  for (const SegmentCase& c : cases) {
    SCOPED_TRACE(std::string(c.completion) + " | " + c.prompt);
    const Segments segments = split_segments(c.completion, c.prompt, c.mode);
    EXPECT_EQ(segments.think, c.think);
    EXPECT_EQ(segments.has_final, c.final_segment != nullptr);
    EXPECT_EQ(segments.final_segment, c.final_segment ? c.final_segment : "");
  }
}

struct ExtractCase {
  const char* text;
  const char* answer;  // null: none
};

void expect_answers(std::span<const ExtractCase> cases, const std::vector<std::string>& extract) {
  for (const ExtractCase& c : cases) {
    SCOPED_TRACE(c.text);
    const auto answer = extract_answer(split_segments(c.text, "", ThinkMode::Auto), extract);
    ASSERT_EQ(answer.has_value(), c.answer != nullptr) << answer.value_or("");
    if (answer) {
      EXPECT_EQ(*answer, c.answer);
    }
  }
}

TEST(ExtractAnswer, DefaultOrder) {
  const ExtractCase cases[] = {
      {"5", nullptr},
      {"<answer> 5 </answer>", "5"},
      {"<answer>5</answer><answer>6</answer>", "6"},
      {"<answer>5</answer> <answer>6", "5"},
      {"<answer>5</answer></answer>", "5"},
      {"<answer><answer>5</answer>", "5"},
      {"</answer>5<answer>", nullptr},
      {"<answer></answer> \\boxed{5}", ""},  // an empty answer is the answer
      {"<answer>5</answer><verifier_answer>7</verifier_answer><answer>6</answer>", "7"},
      {"<verifier_answer>7 <answer>6</answer>", "6"},
      {"\\boxed{1} <answer>6</answer> \\boxed{2}", "6"},
      {"\\boxed{1} no, \\boxed{2}.", "2"},
      {"\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"},
      {"\\boxed{\\boxed{5}}", "5"},
      {"\\boxed {5}", "5"},
      {"\\boxed{\\{1,2\\}}", "\\{1,2\\}"},
      {"\\boxed{5} then \\boxed{6", nullptr},  // cut off inside the last box
      {"\\boxed", nullptr},
      {"\\boxed{5} and \\boxed", "5"},
      {"<think>\\boxed{5}</think>I do not know.", nullptr},
      {"<think>\\boxed{5}", nullptr},
      {"<think>a</think><answer>5</answer>", "5"},
      {"<ANSWER>5</ANSWER>", nullptr},
      {"the answer is 5", nullptr},  // anchors are opt-in
  };
  expect_answers(cases, {});
}

TEST(ExtractAnswer, Anchors) {
  const ExtractCase cases[] = {
      {"The answer is 7.", "7"},
      {"the ANSWER IS: $7$ dollars", "7"},
      {"Answer: **12**", "12"},
      {"Answer:\n-3", "-3"},
      {"3+4=7", "7"},
      {"1+2=3, so 3+4 = 7\n", "7"},
      {"The answer is 7, because 3+4=8", "7"},  // a phrase wins over =
      {"The answer is 6. No, the answer is 7", "7"},
      {"The answer is 1,234.50 in all", "1,234.50"},
      {"x = 5 + 2", "5 + 2"},  // an expression is not its first number
      {"The answer is 5x", "5x"},
      {"The answer is 2\\frac12", "2\\frac12"},
      {"The answer is Paris. It lies on the Seine.", "Paris"},
      {"= \xE2\x88\x92"
       "4",
       "-4"},
      {"no anchor 5", nullptr},
      {"3+4=", nullptr},
  };
  expect_answers(cases, {"anchor"});
}

TEST(ExtractAnswer, LastNumber) {
  const ExtractCase cases[] = {
      {"1 then 2", "2"},
      {"7.", "7"},
      {"1,234 apples", "1,234"},
      {"32, 349", "349"},
      {"10-3", "3"},
      {"(1)-3", "3"},
      {"it is -3", "-3"},
      {"3/4 of it", "3/4"},
      {"v1.2.3", nullptr},
      {"about 1.2.3", "1.2"},
      {"abc123", nullptr},
      {"x_1", nullptr},
      {"50% off", "50%"},
      {"1e5 m", "1e5"},
      {"5cm", "5"},
      {"\xE7\xAD\x94\xE6\xA1\x88\xE6\x98\xAF"
       "5",
       "5"},
      {"\xEF\xBC\x94\xEF\xBC\x92", "42"},  // full-width digits
      {"1,2345", "2345"},
      {"none", nullptr},
      {"", nullptr},
  };
  expect_answers(cases, {"last_number"});
}

TEST(ExtractAnswer, ListIsTriedInOrderAfterTheDefault) {
  const ExtractCase cases[] = {
      {"the answer is 7, not 8", "7"}, {"7 or 8", "8"}, {"<answer>9</answer> answer is 7", "9"}, {"3+4= ", "4"}};
  expect_answers(cases, {"anchor", "last_number"});
  EXPECT_THROW(extract_answer(split_segments("5", "", ThinkMode::Auto), std::vector<std::string>{"regex"}), Error);
}

// Each would take minutes if some scan were quadratic, or end the process if one recursed.
TEST(ExtractAnswer, HostileTextTakesLinearTime) {
  const std::size_t kBytes = 1 << 20;
  auto repeat = [&](const std::string& piece) {
    std::string text;
    while (text.size() < kBytes) text += piece;
    return text;
  };
  const std::vector<std::string> extract = {"anchor", "last_number"};
  for (const std::string piece :
       {"{", "\\boxed", "\\boxed{", "<answer>", "</answer>", "<think>", "</think>", "$",        "=", "answer is ",
        "5", "1,",      "1/",       "1e",       "-",         "\\",      "\xF0\x9F", "\xCC\x81", "<", " "}) {
    SCOPED_TRACE(piece);
    const std::string text = repeat(piece);
    extract_answer(split_segments(text, "", ThinkMode::Auto), extract);
    extract_answer(split_segments(text, text, ThinkMode::None), extract);
  }
  const std::string deep = "\\boxed{" + std::string(200000, '{') + "5" + std::string(200000, '}') + "}";
  EXPECT_EQ(extract_answer(split_segments(deep, "", ThinkMode::Auto))->size(), 400001u);
}

TEST(RewardInput, GivesPartsAndColumns) {
  auto made = test::data("<think>t</think><answer>5</answer>", "5", "q");
  made->columns = Json(Json::Object{{"n", 3}, {"x", 0.5}, {"s", "text"}, {"b", true}, {"l", Json(Json::List{1, 2})}});
  const RewardInput in{made};
  EXPECT_EQ(in.think(), "t");
  EXPECT_EQ(in.final_answer(), "5");
  EXPECT_TRUE(in.has_final_answer());
  EXPECT_EQ(in.column<std::int64_t>("n"), 3);
  EXPECT_EQ(in.column<double>("x"), 0.5);
  EXPECT_EQ(in.column<double>("n"), 3.0);
  EXPECT_EQ(in.column<std::string>("s"), "text");
  EXPECT_TRUE(in.column<bool>("b"));
  EXPECT_EQ(in.column<Json>("l").size(), 2u);
  EXPECT_NE(test::error_of([&] { in.column<double>("y"); }).find("no column 'y'; this row has: n, x, s, b, l"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { in.column<double>("s"); }).find("column 's'"), std::string::npos);
  EXPECT_NE(test::error_of([&] { test::input("5").column<double>("y"); }).find("no columns"), std::string::npos);
  EXPECT_THROW(RewardInput(nullptr), Error);
}

TEST(RewardInput, TakesTheSetsModeUnlessItsDataSaysOtherwise) {
  EXPECT_FALSE(RewardInput(test::data("5"), {}, ThinkMode::Required).segments().has_final);
  auto made = test::data("5");
  made->think_mode = ThinkMode::None;
  EXPECT_TRUE(RewardInput(made, {}, ThinkMode::Required).segments().has_final);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
