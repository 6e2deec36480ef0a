#include <gtest/gtest.h>

#include <cmath>

#include "reward/answer.h"
#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::entry;
using test::error_of;
using test::judge;
using test::reward_set;

bool same(const std::string& gold, const std::string& predicted) {
  return same_answer(parse_answer(gold), parse_answer(predicted));
}

struct Pair {
  const char* gold;
  const char* predicted;
};

TEST(Answer, EqualNumbers) {
  const Pair pairs[] = {
      {"42", "42"},
      {"42", " 42 "},
      {"42", "42."},
      {"42", "+42"},
      {"42", "42.000"},
      {"0", "-0.0"},
      {"4", "004"},
      {"0.5", ".5"},
      {"0.5", "1/2"},
      {"1/2", "2/4"},
      {"1/2", "0.50"},
      {"-1/2", "1/-2"},
      {"-0.5", "\\frac{-1}{2}"},
      {"1/3", "\\frac{1}{3}"},
      {"1/3", "\\dfrac13"},
      {"1/3", "$\\tfrac{ 2 }{ 6 }$"},
      {"5/2", "2\\frac{1}{2}"},
      {"5/2", "2 1/2"},
      {"-5/2", "-2\\frac12"},
      {"5/2", "2\xC2\xBD"},
      {"1/4", "\xC2\xBC"},
      {"7425000", "7,425,000"},
      {"12000023", "12,\\!000,\\!023"},
      {"1234.5", "1{,}234.5"},
      {"1000000", "1\\,000\\,000"},
      {"1234",
       "1\xE2\x80\x89"
       "234"},
      {"-3",
       "\xE2\x88\x92"
       "3"},
      {"-3", "\xEF\xBC\x8D\xEF\xBC\x93"},
      {"42", "\xEF\xBC\x94\xEF\xBC\x92"},
      {"1500", "1.5e3"},
      {"0.0015", "1.5E-3"},
      {"1500", "1.5 \\times 10^{3}"},
      {"1500",
       "1.5\xC3\x97"
       "10^3"},
      {"0.015", "1.5*10^{-2}"},
      {"1e999999999", "10e999999998"},
      {"5", "$5$"},
      {"5", "$$5$$"},
      {"5", "\\(5\\)"},
      {"5", "\\[ 5 \\]"},
      {"5", "\\boxed{5}"},
      {"5", "\\text{5}"},
      {"5", "{{5}}"},
      {"5", "**5**"},
      {"5", "so it is \\boxed{5}!"},
      {"18", "$18"},
      {"18", "\\$18.00"},
      {"5", "x=5"},
      {"x=5", "5"},
      {"x=5", "x = 5.0"},
      {"11", "x=7+4=11"},
      {"12", "3 \\times 4 = 12"},
      {"5", "x_1 = 5"},
      {"10%", "10\\%"},
      {"28\\%", "0.28"},
      {"28%", "28"},
      {"10", "10%"},
      {"5", "\\left5\\right"},
      {"5", "\\displaystyle 5"},
  };
  for (const Pair& p : pairs) EXPECT_TRUE(same(p.gold, p.predicted)) << p.gold << " | " << p.predicted;
}

TEST(Answer, DifferentNumbers) {
  const Pair pairs[] = {
      {"42", "43"},
      {"5", "-5"},
      {"123456", "123457"},
      {"32349", "32, 349"},
      {"0.0000001", "0.0000002"},
      {"1/3", "0.333333"},
      {"1/3", "20/6"},
      {"50", "5000"},
      {"50", "0.5"},
      {"0.5", "50"},
      {"0.1", "10%"},
      {"102", "10\xC2\xB2"},
      {"5", "5 or 6"},
      {"5", "5, 6"},
      {"5", "\\boxed{5 \\text{ or } 6}"},
      {"21/2", "2\xC2\xBD"},
      {"9007199254740993", "9007199254740992"},
      {"x=5", "y=5"},
      {"1", "2x+z=1"},
      {"n=3k", "3"},
      {"3", "n=3k"},
      {"5", "x/x"},
      {"5", "__import__('os')"},
      {"1", "1e-400"},
      {"1e999999999", "1e999999998"},
      {"1", "1/0"},
      {"0", "0/0"},
      {"5", "--5"},
      {"1", "1e99999999999999999999"},
      {"5", ""},
      {"1234", "12,34"},
      {"12345", "12,345,"},
      {"5", "(5"},
      {"5", "5x"},
      {"12", "1 2"},
      {"5", "five"},
      {"100", "1e"},
      {"3x-y+13=0", "3x+4y+14=0"},
      {"1.5", "1,5"},
  };
  for (const Pair& p : pairs) EXPECT_FALSE(same(p.gold, p.predicted)) << p.gold << " | " << p.predicted;
}

TEST(Answer, Text) {
  const Pair equal_pairs[] = {{"Paris", " paris. "},
                              {"New York", "new  york"},
                              {"\\text{(C)}", "C"},
                              {"C", "(c)"},
                              {"(1, 2)", "(1,2)"},
                              {"\\text{Evelyn}", "evelyn"},
                              {"x + 1", "x+1"},
                              {"Stra\xC3\x9F"
                               "e",
                               "STRASSE"},
                              {"\"yes\"", "Yes"},
                              {"y = 2x+3", "2x + 3"},
                              {"\xC3\xA9", "e\xCC\x81"},
                              {"\\sqrt{2}", "$\\sqrt{2}$"},
                              {"a\xE2\x80\x8B"
                               "b",
                               "ab"}};
  for (const Pair& p : equal_pairs) EXPECT_TRUE(same(p.gold, p.predicted)) << p.gold << " | " << p.predicted;
  const Pair other_pairs[] = {{"Paris", "London"}, {"Paris", ""},       {"C", "A, B, C, D"}, {"Paris", "Paris, London"},
                              {"\\sqrt{2}", "2"},  {"x\xC2\xB2", "x2"}, {"3c", "3d"},        {"newyork", "new york"}};
  for (const Pair& p : other_pairs) EXPECT_FALSE(same(p.gold, p.predicted)) << p.gold << " | " << p.predicted;
}

TEST(Answer, ReflexiveAndBlindToWrappers) {
  for (const std::string gold :
       {"42", "-1/2", "1.50", "1,234", "7%", "Paris", "x=5", "\\sqrt{2}", "(1,2)", "2\\frac12"}) {
    for (const std::string& wrapped :
         {gold, " " + gold + " ", "$" + gold + "$", "{" + gold + "}", "\\boxed{" + gold + "}"}) {
      EXPECT_TRUE(same(gold, wrapped)) << gold << " | " << wrapped;
    }
  }
}

// Exact at sizes where floating point has long given up, and linear where schoolbook products would take hours.
TEST(Answer, MillionDigits) {
  const std::string digits(1000000, '7');
  EXPECT_TRUE(same(digits, digits));
  EXPECT_TRUE(same(digits, "0" + digits + ".000"));
  EXPECT_FALSE(same(digits, digits.substr(1) + "8"));
  EXPECT_FALSE(same("5", std::string(1000000, '5')));
  EXPECT_TRUE(same("0." + digits, "." + digits + "0"));
  EXPECT_TRUE(same(digits + "/3", digits + "/3"));
  EXPECT_FALSE(same(digits + "/3", digits + "/6"));
  EXPECT_FALSE(same(digits + "/3", "1/7"));  // over the limit of fractions: different
  // 10^2000 / 3 * 3 = 10^2000, by 2000-digit products.
  EXPECT_TRUE(same("1" + std::string(2000, '0') + "/" + std::string(2000, '3'),
                   "3" + std::string(2000, '0') + "/" + std::string(2000, '9')));
}

TEST(Answer, HostileTextIsCheap) {
  const std::size_t kBytes = 1 << 20;
  for (const std::string piece :
       {"{", "\\text{", "\\boxed{", "$", "(", "1,", "1/", "=", ".", "\\frac{", "\xCC\x81", "\xFF", "-", "\\,", " "}) {
    std::string text;
    while (text.size() < kBytes) text += piece;
    EXPECT_FALSE(same("5", text)) << piece;
  }
  EXPECT_FALSE(same("5", std::string(200000, '{') + "5" + std::string(200000, '}')));
  EXPECT_FALSE(same("5", std::string(20000, '(') + "5" + std::string(20000, ')')));
}

TEST(Answer, FaultsOfAReference) {
  for (const char* good : {"5", "Paris", "\\frac{1}{2}", "\\{1\\}", "???", "1e400"}) {
    EXPECT_EQ(parse_answer(good).fault, "") << good;
  }
  for (const char* bad :
       {"", "  ", "$$", "\\boxed{}", "\\frac{1}{2", "1/0", "\\frac{1}{0}", "\xFF", "1e99999999999999999999", "}{"}) {
    EXPECT_NE(parse_answer(bad).fault, "") << bad;
  }
}

TEST(Accuracy, Verdicts) {
  RewardSet set = reward_set({entry("accuracy")});
  struct Case {
    const char* completion;
    const char* reference;
    const char* verdict;
  };
  const Case cases[] = {
      {"<answer>5</answer>", "5", "correct"},
      {"<think>x</think>\\boxed{5}", "5.0", "correct"},
      {"<answer>6</answer>", "5", "incorrect"},
      {"First \\boxed{1}. Ah no, it is \\boxed{2}.", "2", "correct"},
      {"First \\boxed{1}. Ah no, it is \\boxed{2}.", "1", "incorrect"},
      {"So \\boxed{5} or \\boxed{7}.", "5", "incorrect"},
      {"<think>maybe \\boxed{5}</think><answer>I do not know.</answer>", "5", "incorrect"},
      {"\\boxed{}", "5", "no_answer"},
      {"<think>\\boxed{5}", "5", "no_answer"},
      {"5", "5", "no_answer"},
      {"<answer></answer>", "Paris", "no_answer"},
      {"<answer>Paris</answer>", "paris", "correct"},
      {"<answer>5</answer>", "", "unparsable_reference"},
      {"<answer>5</answer>", "1/0", "unparsable_reference"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.completion);
    const Verdict verdict = judge(set, data(c.completion, c.reference));
    EXPECT_EQ(verdict.verdict, c.verdict);
    if (verdict.verdict == "unparsable_reference") {
      EXPECT_TRUE(std::isnan(verdict.score));
    } else {
      EXPECT_EQ(verdict.score, verdict.verdict == "correct" ? 1.0 : 0.0);
    }
  }
  auto cut = data("<think>so 5 and", "5");
  cut->finish_reason = FinishReason::Length;
  EXPECT_EQ(judge(set, cut).verdict, "truncated");
}

TEST(Accuracy, ExtractList) {
  const Json both(Json::Object{{"extract", Json(Json::List{"anchor", "last_number"})}});
  RewardSet set = reward_set({entry("acc", "accuracy", both)});
  EXPECT_EQ(judge(set, data("The sum of 3 and 4 is 7.", "7")).verdict, "correct");
  EXPECT_EQ(judge(set, data("3 + 4 = 7", "7")).verdict, "correct");
  EXPECT_EQ(judge(set, data("<answer>8</answer> = 7", "7")).verdict, "incorrect");
  EXPECT_EQ(judge(set, data("<think>7", "7")).verdict, "no_answer");
}

TEST(Accuracy, BadParams) {
  auto build = [](Json params) { return error_of([&] { reward_set({entry("acc", "accuracy", std::move(params))}); }); };
  EXPECT_NE(build(Json(Json::Object{{"extrct", 1}}))
                .find("rewards.acc.params.extrct: unknown key (did you mean \"extract\"?)"),
            std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"extract", "anchor"}})).find("expected a list"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"extract", Json(Json::List{"ancho"})}})).find("did you mean \"anchor\"?"),
            std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"extract", Json(Json::List{3})}})).find("got 3"), std::string::npos);
  EXPECT_NE(build(Json(5)).find("expected an object"), std::string::npos);
}

TEST(Accuracy, ChecksRowsAtLoad) {
  const RewardSet set = reward_set({entry("accuracy")});
  const Json row(Json::Object{{"question", "q"}});
  EXPECT_NO_THROW(set.check_row(row, "5"));
  EXPECT_NO_THROW(set.check_row(row, "Paris"));
  EXPECT_NE(error_of([&] { set.check_row(row, std::nullopt); }).find("rewards.accuracy: expected a reference answer"),
            std::string::npos);
  EXPECT_NE(error_of([&] { set.check_row(row, "1/0"); }).find("denominator is 0"), std::string::npos);
  EXPECT_NE(error_of([&] { set.check_row(row, " "); }).find("no answer"), std::string::npos);
}

// What a majority vote counts is what the reward itself would compare.
TEST(Accuracy, ReadsAnswersByItsOwnExtraction) {
  const std::vector<std::string> extract = {"last_number"};
  const RewardSet strict = reward_set({entry("accuracy")});
  const RewardSet loose = reward_set({entry("accuracy", "", Json(Json::Object{{"extract", extract}}))});
  const auto plain = data("it is 7", "7"), boxed = data("it is 7, \\boxed{8}", "7");
  EXPECT_EQ(strict.answer(0, plain), std::nullopt);
  EXPECT_EQ(loose.answer(0, plain), "7");
  EXPECT_EQ(strict.answer(0, boxed), "8");
  EXPECT_EQ(reward_set({entry("format")}).answer(0, boxed), "8");
  EXPECT_EQ(reward_set({entry("format")}).answer(0, plain), std::nullopt);
}

TEST(Accuracy, SpellsEqualAnswersAlike) {
  const RewardSet set = reward_set({entry("accuracy")});
  const auto answer = [&](const std::string& text) { return set.answer(0, data("\\boxed{" + text + "}")); };
  for (const char* text : {"1/2", "0.5", "\\frac{2}{4}", " .50 ", "x = 1/2", "$0.5$", "0.5%"})
    EXPECT_EQ(answer(text), "1/2") << text;
  EXPECT_EQ(answer("-3.0"), "-3");
  EXPECT_EQ(answer("\\text{New  York}."), "new york");
  EXPECT_EQ(answer("  "), std::nullopt);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
