#include <gtest/gtest.h>

#include "reward/inputs.h"
#include "reward/prose.h"
#include "reward/scripts.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::entry;
using test::error_of;

Json raw(const char* target) { return Json(Json::Object{{"target", target}, {"min_words", 0}}); }

Verdict judge(const std::string& thinking, Json params, const std::string& prompt = "") {
  RewardSet set = test::reward_set({entry("language_consistency", "", std::move(params))});
  return test::judge(set, data("<think>" + thinking + "</think>a", "", prompt));
}

TEST(LanguageConsistency, SharesByScript) {
  struct Case {
    const char* thinking;
    const char* target;
    double share;
  };
  const Case cases[] = {
      {"First we compute the derivative and set it equal to zero.", "en", 1},
      {"First we compute the derivative and set it equal to zero.", "zh", 0},
      {"首先我们求函数的导数并令其等于零。然后解出x并检查区间的端点。", "zh", 1},
      {"首先我们求函数", "en", 0},
      {"We compute 四字中文 now ok", "en", 0.5},  // 4 words, 4 characters
      {"We compute 四字中文 now ok", "zh", 0.5},
      {"设 $f(x)=x^2+\\frac12$，则 $f'(x)=2x$，所以临界点是 $x=0$。", "zh", 1},
      {"我们写程序：```python\nfor i in range(10): print(i)\n```运行后得到 `the answer`。", "zh", 1},
      {"We get $\\text{因此答案是五}$ and stop here now.", "en", 0.5},  // \text is no hiding place: 6 and 6
      {"まず関数の導関数を計算し、ゼロとおきます。", "ja", 1},
      {"まず関数の導関数を計算し、ゼロとおきます。", "zh", 0},
      {"まず計算します。東京大学。次に解きます。", "ja", 1},  // kanji between sentences with kana
      {"东京大学。首先解方程。", "ja", 0},
      {"먼저 도함수를 계산하고 x를 구합니다", "ko", 1},
      {"Сначала вычислим производную", "ru", 1},
      {"Сначала вычислим derivative", "uk", 2.0 / 3},
      {"نحسب المشتقة أولا", "ar", 1},
      {"Υπολογίζουμε την παράγωγο", "el", 1},
      {"Des élèves naïfs, e\xCC\x81te\xCC\x81", "fr", 1},
      {"see https://example.org/überall and mail me@example.org or /usr/local/bin now", "zh", 0},
      {"кaк быть", "ru", 1},  // one Latin letter in a Cyrillic word
  };
  for (const Case& c : cases)
    EXPECT_DOUBLE_EQ(judge(c.thinking, raw(c.target)).score, c.share) << c.thinking << c.target;
}

TEST(LanguageConsistency, CountsWordsOfProseOnly) {
  auto words = [](const std::string& thinking) {
    const std::string why = judge(thinking, raw("en")).why;
    return why.substr(0, why.find(" of"));
  };
  EXPECT_EQ(words("don't stop"), "2");
  EXPECT_EQ(words("a b c x stop"), "1");
  EXPECT_EQ(words("snake_case h2o camelCase 0x1F word"), "1");
  EXPECT_EQ(words("see https://a.org/b www.a.org/b me@a.org /usr/bin ~/x a/b.txt end"), "2");
  EXPECT_EQ(words("costs $5 and $6 here"), "3");
  EXPECT_EQ(words("costs $x$ and \\(y\\) \\[zz\\] $$ww$$ here"), "3");
  EXPECT_EQ(words("\\begin{align} aa &= bb \\end{align} done"), "1");
  EXPECT_EQ(words("one `code here` two"), "2");
  EXPECT_EQ(words("one ```code here``` two"), "2");
  EXPECT_EQ(words("one ```code here"), "1");
  EXPECT_EQ(words("12 and 34.5"), "1");
}

TEST(LanguageConsistency, FewWordsAreSmoothedAndNoneAreNoHarbour) {
  const Json target(Json::Object{{"target", "en"}});
  EXPECT_DOUBLE_EQ(judge("one two three four", target).score, 5.0 / 6);
  EXPECT_DOUBLE_EQ(judge("四字中文", target).score, 1.0 / 6);
  EXPECT_DOUBLE_EQ(judge("one two three four five six seven eight", target).score, 1);
  EXPECT_EQ(judge("", target).score, 0);
  EXPECT_EQ(judge("$x^2$ 12", target).verdict, "no_words");
  EXPECT_EQ(judge("", Json(Json::Object{{"target", "en"}, {"empty_value", 0.5}})).score, 0.5);
}

TEST(LanguageConsistency, WholeTextWithoutThinking) {
  RewardSet set = test::reward_set({entry("language_consistency", "", raw("en"))});
  EXPECT_EQ(test::judge(set, data("only words")).score, 1);
  EXPECT_EQ(test::judge(set, data("<think>首先</think>only words")).score, 0);
  EXPECT_EQ(test::judge(set, data("<think>only words")).score, 1);
  EXPECT_EQ(test::judge(set, data("<think></think>only words")).score, 0);
}

TEST(LanguageConsistency, TargetOfThePrompt) {
  const Json automatic(Json::Object{{"min_words", 0}});
  EXPECT_EQ(judge("首先解方程", automatic, "求函数的导数").score, 1);
  EXPECT_EQ(judge("首先解方程", automatic, "Find the derivative").score, 0);
  RewardSet set = test::reward_set({entry("language_consistency", "", automatic)});
  auto asked = data("<think>首先解方程</think>a", "", "system words in English, and then: 求导数");
  asked->messages = {{"system", "Answer with care please"}, {"user", "求函数的导数"}};
  EXPECT_EQ(test::judge(set, asked).score, 1);
  // "3+4=" has no language: the reward is absent.
  EXPECT_EQ(test::judge(set, data("<think>words</think>a", "", "3+4=")).verdict, "absent");
}

TEST(LanguageConsistency, TargetOfAColumn) {
  RewardSet set = test::reward_set({entry("language_consistency", "", raw("column:lang"))});
  auto asked = data("<think>首先解方程</think>a");
  asked->columns = Json(Json::Object{{"lang", "zh-Hans"}});
  EXPECT_EQ(test::judge(set, asked).score, 1);
  EXPECT_NO_THROW(set.check_row(asked->columns, std::nullopt));
  EXPECT_NE(error_of([&] {
              set.check_row(Json(Json::Object{{"x", 1}}), {});
            }).find("column 'lang'"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              set.check_row(Json(Json::Object{{"lang", "xx"}}), {});
            }).find("language code"),
            std::string::npos);
  EXPECT_NE(error_of([&] { test::judge(set, data("<think>a</think>b")); }).find("no column 'lang'"), std::string::npos);
}

TEST(LanguageConsistency, BadParams) {
  auto build = [](Json params) {
    return error_of([&] { test::reward_set({entry("language_consistency", "", std::move(params))}); });
  };
  EXPECT_NE(build(raw("klingon")).find("params.target"), std::string::npos);
  EXPECT_NE(build(raw("column:")).find("params.target"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"empty_value", 2}})).find("empty_value"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"min_word", 2}})).find("did you mean \"min_words\"?"), std::string::npos);
}

TEST(LanguageConsistency, HostileTextTakesLinearTime) {
  for (const std::string piece : {"$", "$x ", "`", "``` ", "\\(", "\\[", "\\begin{", "\\begin{x} \\end{", "\\text{",
                                  "$\\text{$", "\xF0\x9F", "\xCC\x81", "a/", "\\", "字", "か。", "x", "a@"}) {
    std::string text;
    while (text.size() < (1u << 20)) text += piece;
    const double score = judge(text, raw("en")).score;
    EXPECT_TRUE(score >= 0 && score <= 1) << piece;
  }
}

TEST(Scripts, OfLanguages) {
  EXPECT_EQ(script_of_language("zh-CN"), Script::Han);
  EXPECT_EQ(script_of_language("EN"), Script::Latin);
  EXPECT_EQ(script_of_language("pt_BR"), Script::Latin);
  EXPECT_EQ(script_of_language("e"), std::nullopt);
  EXPECT_EQ(script_of_language("en de"), std::nullopt);
  EXPECT_EQ(script_of_language(""), std::nullopt);
  EXPECT_EQ(script_of(0x4E2D), Script::Han);
  EXPECT_EQ(script_of(0x10FFFF), Script::Other);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
