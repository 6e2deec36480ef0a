#include "metrics/report.h"

#include <grpo/metrics.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

class Report : public ::testing::Test {
 protected:
  std::string write(const std::string& run, const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(root_ + "/" + run);
    std::ofstream(root_ + "/" + run + "/" + file) << text;
    return root_ + "/" + run;
  }
  std::string page(const std::vector<std::string>& runs) const {
    write_report(runs, root_ + "/report.html");
    std::ostringstream text;
    text << std::ifstream(root_ + "/report.html").rdbuf();
    return text.str();
  }
  std::string error_of(const std::string& run) const {
    try {
      page({run});
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  ScratchFolder folder_;
  const std::string root_ = folder_.path();
};

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t begin = text.find(from) + from.size();
  return text.substr(begin, text.find(to, begin) - begin);
}

Json data_of(const std::string& page) {
  return parse_json(between(page, "<script type=\"application/json\" id=\"data\">", "</script>"));
}

TEST_F(Report, ShowsEveryCurveUnderThePointer) {
  const std::string run =
      write("sums", "metrics.jsonl",
            R"({"step": 1, "reward": 0.25, "rewards/accuracy/mean": 0.125, "kl": null, "entropy": 1.5}
{"step": 2, "reward": 0.75, "rewards/accuracy/mean": 0.5, "kl": 0.01, "entropy": 1.25}
)");
  const std::string text = page({run});
  const Json data = data_of(text);
  ASSERT_EQ(data.size(), 3u);  // rewards, KL, entropy
  const Json& reward = data.as_list()[0].at("series");
  EXPECT_EQ(reward.as_list()[0].at("label"), Json("total"));
  EXPECT_EQ(reward.as_list()[0].at("values"), Json(Json::List{0.25, 0.75}));
  EXPECT_EQ(reward.as_list()[1].at("label"), Json("accuracy"));
  EXPECT_EQ(data.as_list()[1].at("series").as_list()[0].at("steps"), Json(Json::List{2}));
  EXPECT_NE(text.find("12.5 % → 50.0 %"), std::string::npos);
  std::size_t figures = 0;
  for (std::size_t at = text.find("<svg"); at != std::string::npos; at = text.find("<svg", at + 1)) ++figures;
  EXPECT_EQ(figures, data.size());
}

TEST_F(Report, SeveralRunsShareEachChart) {
  const std::string a = write("a", "metrics.jsonl", "{\"step\": 1, \"reward\": 1.0, \"kl\": 0.5}\n");
  const std::string b = write("b", "metrics.jsonl", "{\"step\": 1, \"reward\": 2.0}\n");
  write("a", "config.resolved.yaml", "name: sums\nseed: 1\ngrpo: {beta: 0.1, epsilon: 0.2}\n");
  write("b", "config.resolved.yaml", "name: sums\nseed: 1\ngrpo: {beta: 0.0, epsilon: 0.2}\n");
  const std::string text = page({a, b});
  const Json data = data_of(text);
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data.as_list()[0].at("series").size(), 2u);
  EXPECT_EQ(data.as_list()[0].at("series").as_list()[1].at("label"), Json("sums (b)"));
  EXPECT_EQ(data.as_list()[1].at("series").size(), 1u);
  const std::string two = page({root_ + "/a", write("c", "metrics.jsonl", "{\"step\": 1, \"entropy\": 2.0}\n")});
  EXPECT_NE(two.find("<b>Entropy, nats</b><span class=\"c1\">"), std::string::npos);  // a run keeps its colour
  EXPECT_NE(text.find("<tr><td>grpo.beta<td>0.1<td>0.0"), std::string::npos);
  EXPECT_EQ(text.find("<td>grpo.epsilon"), std::string::npos);
}

TEST_F(Report, TextCannotLeaveItsPlace) {
  const std::string evil = R"(</script><script>alert(1)</script><img src=x onerror='alert(2)'>)";
  Json metrics;
  metrics["step"] = 1;
  metrics["rewards/" + evil + "/mean"] = 1.0;
  const std::string run = write("</title><script>", "metrics.jsonl", metrics.dump() + "\n");
  Json row;
  row["step"] = 1;
  row["prompt"] = evil;
  row["completion"] = "<think>" + evil + "</think>";
  row["finish_reason"] = evil;
  for (const char* key : {"rewards", "verdict", "why"}) row[key][evil] = evil;
  write("</title><script>", "completions.jsonl", row.dump() + "\n");
  Json config;
  config["name"] = evil;
  write("</title><script>", "config.resolved.yaml", config.dump() + "\n");
  const std::string text = page({run});
  EXPECT_EQ(text.find("alert(1)</script>"), std::string::npos);
  EXPECT_EQ(text.find("<img"), std::string::npos);
  std::size_t scripts = 0;
  for (std::size_t at = text.find("<script"); at != std::string::npos; at = text.find("<script", at + 1)) ++scripts;
  EXPECT_EQ(scripts, 2u);  // its data and its own
  EXPECT_EQ(data_of(text).as_list()[0].at("series").as_list()[0].at("label").as_string(), evil);
  EXPECT_NE(text.find("<b class=\"think\">&lt;think&gt;</b>&lt;/script&gt;"), std::string::npos);
}

TEST_F(Report, AnswersOfTheFirstTheMiddleAndTheLastStep) {
  std::string metrics, answers;
  for (int step = 1; step <= 9; ++step) {
    metrics += "{\"step\": " + std::to_string(step) + ", \"reward\": 0.5}\n";
    for (int i = 0; i < 4; ++i)
      answers += "{\"step\": " + std::to_string(step) + ", \"prompt\": \"p\", \"completion\": \"answer " +
                 std::to_string(i) + " of " + std::to_string(step) + "\"}\n";
  }
  const std::string run = write("run", "metrics.jsonl", metrics);
  write("run", "completions.jsonl", answers + "{\"step\": 10, \"torn");
  const RunRecord record = read_run(run);
  ASSERT_EQ(record.samples.size(), 12u);
  EXPECT_EQ(record.samples[4].at("completion"), Json("answer 0 of 4"));
  const std::string text = page({run});
  for (const char* shown : {"answer 0 of 1", "answer 2 of 1", "answer 0 of 4", "answer 2 of 9"})
    EXPECT_NE(text.find(shown), std::string::npos) << shown;
  for (const char* hidden : {"answer 3 of 1", "answer 0 of 5", "torn"}) EXPECT_EQ(text.find(hidden), std::string::npos);
}

TEST_F(Report, AnswersSayWhyTheyScoredAsTheyDid) {
  const std::string run = write("run", "metrics.jsonl", "{\"step\": 1, \"reward\": 0.5}\n");
  write(
      "run", "completions.jsonl",
      R"({"step": 1, "prompt": "1+1=", "completion": "3", "rewards": {"accuracy": 0, "format": null}, )"
      R"("verdict": {"accuracy": "wrong", "format": "absent"}, "why": {"accuracy": "3 is not 2 & never was", "format": ""}})"
      "\n");
  const std::string text = page({run});
  EXPECT_NE(text.find("accuracy <b>0</b> wrong <i>3 is not 2 &amp; never was</i>"), std::string::npos);
  EXPECT_NE(text.find("format <b>none</b> absent"), std::string::npos);
}

// 1000 steps of 1, 2, 3, 4, 1, ...: drawn as means, inside the band of what they stand for.
TEST_F(Report, LongCurvesAreThinned) {
  Curve curve;
  for (int step = 1; step <= 1000; ++step) curve.emplace_back(step, 1 + (step - 1) % 4);
  const Chart chart{"long", {{"series", curve}}};
  const Json series = chart_data(chart).at("series").as_list()[0];
  EXPECT_EQ(series.at("steps").size(), 334u);  // threes
  EXPECT_EQ(series.at("steps").as_list()[0], Json(2));
  EXPECT_EQ(series.at("values").as_list()[0], Json(2.0));
  EXPECT_DOUBLE_EQ(series.at("values").as_list()[1].as_double(), 2.3333);  // (4 + 1 + 2) / 3, five digits
  EXPECT_NE(chart_svg(chart).find("class=\"band\""), std::string::npos);
}

TEST_F(Report, CurvesWithoutRangeAreDrawn) {
  for (const Curve& curve :
       {Curve{{3, 0.0}}, Curve{{1, 5.0}, {2, 5.0}}, Curve{{1, -1e300}, {2, 1e300}}, Curve{{0, 1e-300}}})
    for (const bool share : {false, true}) {
      const std::string svg = chart_svg({"c", {{"s", curve}}, share});
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
      EXPECT_LT(svg.size(), 4000u);
    }
}

TEST_F(Report, ComplaintsNameFileAndLine) {
  EXPECT_NE(error_of(root_ + "/none").find("expected the folder of a run"), std::string::npos);
  const std::string run = write("run", "metrics.jsonl", "{\"step\": 1, \"loss\": 1}\n{\"loss\": 2}\n");
  EXPECT_NE(error_of(run).find("metrics.jsonl:2"), std::string::npos) << error_of(run);
  write("run", "metrics.jsonl", "{\"step\": 2, \"loss\": 1}\n{\"step\": 2, \"loss\": 2}\n");
  EXPECT_NE(error_of(run).find("expected one after 2"), std::string::npos) << error_of(run);
  write("run", "metrics.jsonl", "nonsense\n");
  EXPECT_NE(error_of(run).find("metrics.jsonl:1"), std::string::npos) << error_of(run);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
