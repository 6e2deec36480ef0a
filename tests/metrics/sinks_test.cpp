#include <grpo/json.h>
#include <grpo/metrics.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

namespace grpo::inline GRPO_ABI {
namespace {

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(JsonlSink, AppendsOneObjectAStepAtOnce) {
  const std::string path = ::testing::TempDir() + "/metrics.jsonl";
  std::remove(path.c_str());
  {
    const auto sink = jsonl_sink(path);
    sink->write(1, {{"reward", 0.1}, {"kl", std::nan("")}, {"worst", -std::numeric_limits<double>::infinity()}});
    EXPECT_EQ(read(path), "{\"step\": 1, \"kl\": null, \"reward\": 0.1, \"worst\": null}\n");
  }
  jsonl_sink(path)->write(2, {{"loss", -1e-300}});
  const std::string text = read(path);
  const Json second = parse_json(text.substr(text.find('\n') + 1));
  EXPECT_EQ(second.at("step").as_int(), 2);
  EXPECT_EQ(second.at("loss").as_double(), -1e-300);
  EXPECT_THROW(jsonl_sink(::testing::TempDir() + "/nowhere/metrics.jsonl"), Error);
  std::remove(path.c_str());
}

// Not a terminal here: a line a step.
TEST(ConsoleSink, SaysWhereTheRunIsAndWhatPeopleWatch) {
  ::testing::internal::CaptureStderr();
  {
    const auto sink = console_sink("sums", 40);
    sink->write(4, {{"reward", 0.25}, {"loss", 0.5}, {"unwatched", 7}, {"kl", std::nan("")}});
    sink->write(5, {{"reward", 0.75}, {"step_time", 1.234}});
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  const std::size_t end = text.find('\n');
  ASSERT_NE(end, std::string::npos);
  EXPECT_EQ(text.substr(0, end), "sums 4/40  loss 0.5000  reward 0.250  kl nan");
  const std::string second = text.substr(end + 1);
  EXPECT_EQ(second.rfind("sums 5/40  reward 0.750  1.23 s  left ", 0), 0u) << second;
  EXPECT_EQ(second.find('\n'), second.size() - 1);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
