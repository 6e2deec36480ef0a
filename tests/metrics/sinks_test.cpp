#include <grpo/json.h>
#include <grpo/metrics.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

#include "support/event_file.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(JsonlSink, AppendsOneObjectAStepAtOnce) {
  const ScratchFolder folder;
  const std::string path = folder / "metrics.jsonl";
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
  EXPECT_THROW(jsonl_sink(folder / "nowhere/metrics.jsonl"), Error);
}

// Records as TFRecord frames them, and in them the fields of tensorflow.Event;
// tests/golden/metrics/check_tensorboard.py lets TensorBoard itself read a run.
TEST(TensorBoardSink, WritesFramedEvents) {
  const ScratchFolder folder;
  tensorboard_sink(folder.path())->write(300, {{"kl", 0.5}, {"reward", -2.0}});
  const auto file = std::filesystem::directory_iterator(folder.path())->path();
  EXPECT_EQ(file.filename().string().rfind("events.out.tfevents.", 0), 0u);
  const std::string text = read(file.string());

  std::vector<std::string> records;
  for (std::size_t at = 0; at < text.size();) {
    const auto length = static_cast<std::size_t>(static_cast<unsigned char>(text[at]));
    EXPECT_EQ(text.substr(at + 1, 7), std::string(7, '\0'));
    records.push_back(text.substr(at + 12, length));
    at += 12 + length + 4;
  }
  ASSERT_EQ(records.size(), 3u);
  const std::string time = records[0].substr(0, 9);  // field 1, a double
  EXPECT_EQ(time[0], '\x09');
  EXPECT_EQ(records[0].substr(9),
            "\x1A\x0D"
            "brain.Event:2");
  EXPECT_EQ(records[1].substr(9),
            "\x10\xAC\x02"
            "\x3A\x02\x08\x01");  // step 300; session_log.status = START
  EXPECT_EQ(records[2].substr(9), std::string("\x10\xAC\x02"
                                              "\x2A\x1A"
                                              "\x0A\x09"
                                              "\x0A\x02kl"
                                              "\x15\x00\x00\x00\x3F"
                                              "\x0A\x0D"
                                              "\x0A\x06reward"
                                              "\x15\x00\x00\x00\xC0",
                                              5 + 11 + 15));
  // The checks of the bytes that are the same in every file: the length of the first record.
  EXPECT_EQ(text.substr(0, 8), std::string("\x18\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(text.substr(8, 4), "\xA3\x7F\x4B\x22");
}

TEST(TensorBoardSink, ReadsBackAsItWasWritten) {
  const ScratchFolder folder;
  {
    const auto sink = tensorboard_sink(folder.path());
    sink->write(7, {{"reward", 0.1},
                    {"a name of many bytes: " + std::string(200, 'x'), -std::numeric_limits<double>::infinity()}});
    sink->write(std::int64_t{1} << 40, {{"kl", std::nan("")}, {"loss", 1e-300}});
  }
  const std::string text = read(std::filesystem::directory_iterator(folder.path())->path().string());
  const std::vector<grpo::testing::Event> events = grpo::testing::read_events(text);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_TRUE(events[1].starts_session);
  EXPECT_EQ(events[1].step, 7);
  for (std::size_t i = 1; i < events.size(); ++i) EXPECT_GE(events[i].wall_time, events[i - 1].wall_time);
  ASSERT_EQ(events[2].values.size(), 2u);
  EXPECT_EQ(events[2].values[0].first, "a name of many bytes: " + std::string(200, 'x'));
  EXPECT_EQ(events[2].values[0].second, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(events[2].values[1], std::make_pair(std::string("reward"), 0.1F));
  EXPECT_EQ(events[3].step, std::int64_t{1} << 40);
  EXPECT_TRUE(std::isnan(events[3].values[0].second));
  EXPECT_EQ(events[3].values[1].second, 0.0F);  // below what a float holds

  // What a kill may leave, byte by byte: the events before it, or an error unless a torn end is allowed.
  const std::size_t third = text.size() - 40;
  for (std::size_t end = third; end < text.size(); ++end) {
    EXPECT_THROW(grpo::testing::read_events(text.substr(0, end)), Error) << end;
    EXPECT_EQ(grpo::testing::read_events(text.substr(0, end), true).size(), 3u) << end;
  }
  for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{20}, text.size() - 1}) {
    std::string broken = text;
    broken[at] = static_cast<char>(broken[at] ^ 1);
    EXPECT_THROW(grpo::testing::read_events(broken), Error) << at;
  }
}

TEST(PrometheusSink, ReplacesAFileOfGauges) {
  const ScratchFolder folder;
  const std::string path = folder / "metrics.prom";
  const auto sink = prometheus_sink(path, "a \"b\"\\\n");
  sink->write(4, {{"rewards/a-b/mean", 0.5}, {"rewards/a_b/mean", 1}, {"loss", -1e-5}, {"eval_reward", 2}});
  const std::string run = R"(run="a \"b\"\\\n")";
  const std::string two =
      "# HELP grpo_rewards_a_b_mean rewards/a-b/mean\n# TYPE grpo_rewards_a_b_mean gauge\ngrpo_rewards_a_b_mean{" +
      run + ",metric=\"rewards/a-b/mean\"} 0.5\ngrpo_rewards_a_b_mean{" + run + ",metric=\"rewards/a_b/mean\"} 1\n";
  const auto gauge = [&run](const std::string& name, const std::string& value) {
    return "# HELP grpo_" + name + " " + name + "\n# TYPE grpo_" + name + " gauge\ngrpo_" + name + "{" + run + "} " +
           value + "\n";
  };
  EXPECT_EQ(read(path), gauge("eval_reward", "2") + gauge("loss", "-1e-05") + two + gauge("step", "4"));
  // What a step lacks keeps its value.
  const double infinity = std::numeric_limits<double>::infinity();
  sink->write(5, {{"rewards/a-b/mean", infinity}, {"rewards/a_b/mean", -infinity}, {"loss", std::nan("")}});
  const std::string text = read(path);
  EXPECT_NE(text.find(gauge("eval_reward", "2") + gauge("loss", "NaN")), std::string::npos) << text;
  EXPECT_NE(text.find("} +Inf\n"), std::string::npos);
  EXPECT_NE(text.find("} -Inf\n"), std::string::npos);
  EXPECT_NE(text.find(gauge("step", "5")), std::string::npos);
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
