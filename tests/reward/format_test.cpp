#include <gtest/gtest.h>

#include "reward/inputs.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::entry;
using test::error_of;

Json mode(const char* name) { return Json(Json::Object{{"mode", name}}); }

double score(const std::string& completion, Json params, const std::string& prompt = "",
             std::optional<TemplateKind> kind = {}) {
  RewardSet set = test::reward_set({entry("format", "", std::move(params))}, 0.1, 1, kind);
  return test::judge(set, data(completion, "", prompt)).score;
}

const std::string kIdeal = "<think>\nt\n</think>\n<answer>\na\n</answer>";

TEST(Format, StrictOnTheTableOfTemplates) {
  struct Case {
    std::string completion;
    double strict;
  };
  const Case cases[] = {
      {kIdeal, 1},
      {"<think>t</think><answer>a</answer>", 1},
      {kIdeal + "\n", 1},
      {"\xEF\xBB\xBF" + kIdeal + " \xE2\x80\x8B", 1},  // byte order mark, zero-width space
      {kIdeal + "\nmore", 0},
      {"so " + kIdeal, 0},
      {"<think>\n</think>\n<answer>a</answer>", 0},
      {"<think>\xE2\x80\x8B</think>\n<answer>a</answer>", 0},
      {"<think>t</think><answer> </answer>", 0},
      {kIdeal + "\n" + kIdeal, 0},
      {"<think>t <answer>a</answer></think>", 0},
      {"<answer>a</answer><think>t</think>", 0},
      {"<think>t <answer>a</answer>", 0},
      {"t</think><answer>a</answer>", 0},
      {"<think>t</think> so <answer>a</answer>", 0},
      {"no tags", 0},
      {"", 0},
      {"<think></think><answer></answer><think></think><answer></answer><think></think><answer></answer>", 0},
      {"<THINK>t</THINK><ANSWER>a</ANSWER>", 0},
      {"< think >t</think><answer>a</answer>", 0},
      {"<think/>t</think><answer>a</answer>", 0},
      {"\xEF\xBC\x9Cthink\xEF\xBC\x9Et</think><answer>a</answer>", 0},
      {"&lt;think&gt;t</think><answer>a</answer>", 0},
      {"<think>t<think>t</think><answer>a</answer>", 0},
      {"<think>t \xF0\x9F</think><answer>a\xE4</answer>", 1},  // unterminated UTF-8 is text
      {"<think>t</think><answer>a</answer", 0},
      {"<think>if a < b and b > c</think><answer><b></answer>", 1},
  };
  for (const Case& c : cases) EXPECT_EQ(score(c.completion, {}), c.strict) << c.completion;
}

TEST(Format, DefaultModeFollowsTheTemplate) {
  const std::string think_only = "<think>t</think>\n\\boxed{5}";
  EXPECT_EQ(score(think_only, {}, "", TemplateKind::R1), 1);
  EXPECT_EQ(score(kIdeal, {}, "", TemplateKind::R1), 0);
  for (const auto kind : {TemplateKind::R1Zero, TemplateKind::Chat, TemplateKind::Plain}) {
    EXPECT_EQ(score(kIdeal, {}, "", kind), 1);
    EXPECT_EQ(score(think_only, {}, "", kind), 0);
  }
  EXPECT_EQ(score(think_only, mode("strict_think"), "", TemplateKind::R1Zero), 1);
}

TEST(Format, StrictThink) {
  EXPECT_EQ(score("<think>t</think>a", mode("strict_think")), 1);
  for (const char* bad : {"<think>t</think>", "<think>t</think> \n", "<think> </think>a", "x<think>t</think>a", "a",
                          "<think>t", "<think>t</think>a<answer>b</answer>", "<think>t</think>a<think>b</think>c"}) {
    EXPECT_EQ(score(bad, mode("strict_think")), 0) << bad;
  }
}

TEST(Format, Soft) {
  for (const std::string& good :
       {kIdeal, "so " + kIdeal + " done", std::string("<think></think> x <answer>a</answer>")}) {
    EXPECT_EQ(score(good, mode("soft")), 1) << good;
  }
  for (const std::string& bad : {kIdeal + kIdeal, std::string("<think>t</think><answer> </answer>"),
                                 std::string("<answer>a</answer><think>t</think>"), std::string("a")}) {
    EXPECT_EQ(score(bad, mode("soft")), 0) << bad;
  }
}

TEST(Format, TagCount) {
  EXPECT_EQ(score(kIdeal, mode("tag_count")), 1);
  EXPECT_EQ(score("<think>t <answer>a</answer>", mode("tag_count")), 0.75);
  EXPECT_EQ(score(kIdeal + kIdeal, mode("tag_count")), 0);
  EXPECT_EQ(score("</think>t<think>", mode("tag_count")), 0.25);
  EXPECT_EQ(score("</think><think></answer><answer>", mode("tag_count")), 0.5);
  EXPECT_EQ(score("<answer>a</answer><think>t</think>", mode("tag_count")), 0.75);
  EXPECT_EQ(score("<think>t<answer>a</answer></think>", mode("tag_count")), 0.75);
  EXPECT_EQ(score("no tags", mode("tag_count")), 0);
}

TEST(Format, Graded) {
  EXPECT_EQ(score(kIdeal, mode("graded")), 1);
  EXPECT_EQ(score(kIdeal + " more", mode("graded")), 0.75);
  EXPECT_EQ(score("<think></think><answer>a</answer>", mode("graded")), 0.75);
  EXPECT_EQ(score("<answer>a</answer><think>t</think>", mode("graded")), 0.75);
  EXPECT_EQ(score("<think>t</think>a", mode("graded")), 0.25);
  EXPECT_EQ(score("<think>t", mode("graded")), 0);
  EXPECT_EQ(score("", mode("graded")), 0);
}

// Worked out apart from the library, to three decimals; with power 1 the similarity itself.
TEST(Format, CosineTemplate) {
  const auto similarity = [](const std::string& completion, const std::string& prompt = "") {
    return score(completion, Json(Json::Object{{"mode", "cosine_template"}, {"power", 1}}), prompt);
  };
  struct Case {
    std::string completion;
    double similarity;
  };
  const Case cases[] = {
      {kIdeal + "\nmore", 0.773},
      {"so " + kIdeal, 0.773},
      {"<think>\n</think>\n<answer>a</answer>", 0.714},
      {kIdeal + "\n" + kIdeal, 0.487},
      {"<think>t <answer>a</answer></think>", 0.800},
      {"<answer>a</answer><think>t</think>", 0.800},
      {"<think>t <answer>a</answer>", 0.716},
      {"t</think><answer>a</answer>", 0.716},
      {"<think>t</think> so <answer>a</answer>", 0.773},
      {"<think></think><answer></answer><think></think><answer></answer><think></think><answer></answer>", 0.264},
  };
  for (const Case& c : cases) EXPECT_NEAR(similarity(c.completion), c.similarity, 0.0005) << c.completion;
  EXPECT_EQ(similarity(kIdeal), 1);
  EXPECT_EQ(similarity("no tags"), 0);
  EXPECT_EQ(similarity(""), 0);
  EXPECT_GT(similarity("<think>"), 0);
  EXPECT_EQ(similarity("t</think><answer>a</answer>", "Q <think>"), 1);
}

TEST(Format, CosineTemplateSquaresUnlessToldOtherwise) {
  EXPECT_NEAR(score("<answer>a</answer><think>t</think>", mode("cosine_template")), 0.64, 0.0005);
  EXPECT_NEAR(score(kIdeal + kIdeal, mode("cosine_template")), 0.487 * 0.487, 0.0005);
  EXPECT_EQ(score(kIdeal, mode("cosine_template")), 1);
}

TEST(Format, Prefilled) {
  const std::string inside = "t</think><answer>a</answer>";
  EXPECT_EQ(score(inside, {}, "Q <think>\n"), 1);
  EXPECT_EQ(score(inside, {}, "tags are <think> </think>. Q"), 0);
  EXPECT_EQ(score(kIdeal, {}, "Q <think>\n"), 0);  // opened twice
  EXPECT_EQ(score(inside, Json(Json::Object{{"prefilled", true}})), 1);
  EXPECT_EQ(score(inside, Json(Json::Object{{"prefilled", false}}), "Q <think>"), 0);
  EXPECT_EQ(score(inside, Json(Json::Object{{"prefilled", "auto"}}), "Q <think>"), 1);
}

TEST(Format, MinimumOfThinking) {
  const Json params(Json::Object{{"min_think_chars", 3}});
  EXPECT_EQ(score("<think>ab c</think><answer>a</answer>", params), 1);
  EXPECT_EQ(score("<think>a b</think><answer>a</answer>", params), 0);
  EXPECT_EQ(score("<think>\xE6\x88\x91\xE4\xBB\xAC</think><answer>a</answer>", params), 0);  // characters, not bytes
}

TEST(Format, VerdictSaysWhatIsWrong) {
  RewardSet set = test::reward_set({entry("format")});
  auto verdict = [&](const std::string& completion) { return test::judge(set, data(completion)).verdict; };
  EXPECT_EQ(verdict(kIdeal), "well_formed");
  EXPECT_EQ(verdict("a"), "no_tags");
  EXPECT_EQ(verdict("<think>t</think>a"), "missing_tag");
  EXPECT_EQ(verdict(kIdeal + kIdeal), "repeated_tag");
  EXPECT_EQ(verdict("<answer>a</answer><think>t</think>"), "wrong_order");
  EXPECT_EQ(verdict("<think></think><answer>a</answer>"), "empty_part");
  EXPECT_EQ(verdict("<think>t</think><answer></answer>"), "empty_part");
  EXPECT_EQ(verdict("x" + kIdeal), "text_outside");
}

TEST(Format, BadParams) {
  auto build = [](Json params) {
    return error_of([&] { test::reward_set({entry("format", "", std::move(params))}); });
  };
  EXPECT_NE(build(mode("strikt")).find("rewards.format.params.mode"), std::string::npos);
  EXPECT_NE(build(mode("strikt")).find("did you mean \"strict\"?"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"prefilled", "yes"}})).find("params.prefilled"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"min_think_chars", -1}})).find("min_think_chars"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"modes", "soft"}})).find("unknown key"), std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"power", 2}})).find("no effect unless mode is cosine_template"),
            std::string::npos);
  EXPECT_NE(build(Json(Json::Object{{"mode", "cosine_template"}, {"power", 0}})).find("above 0"), std::string::npos);
}

TEST(Format, MegabytesOfTags) {
  for (const std::string piece : {"<think>", "</think>", "<answer>x", "<", "<thin", " ", "\xE2\x80\x8B"}) {
    std::string text;
    while (text.size() < (1u << 20)) text += piece;
    for (const char* name : {"strict", "strict_think", "soft", "tag_count", "graded", "cosine_template"}) {
      EXPECT_LT(score(text, mode(name)), 1.0) << piece;
    }
  }
  EXPECT_EQ(score("<think>" + std::string(1 << 20, 'x') + "</think><answer>a</answer>", {}), 1);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
