#include "metrics/phases.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <stdexcept>
#include <thread>

#include <grpo/json.h>

#include "base/files.h"
#include "metrics/trace.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

using std::chrono::milliseconds;

TEST(Phases, TimesAndTokensByPathSinceTheLastCall) {
  Phases phases;
  {
    const Phase rollout(&phases, "rollout");
    for (int i = 0; i < 2; ++i) {
      Phase sampling(&phases, "sampling");
      sampling.add_tokens(30);
      std::this_thread::sleep_for(milliseconds(10));
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  const Metrics metrics = phases.take_metrics();
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_GE(metrics.at("time/rollout/sampling"), 0.020);  // sleeps are never shorter
  EXPECT_GE(metrics.at("time/rollout"), metrics.at("time/rollout/sampling") + 0.005);
  EXPECT_DOUBLE_EQ(metrics.at("throughput/rollout/sampling"), 60 / metrics.at("time/rollout/sampling"));
  EXPECT_TRUE(phases.take_metrics().empty());
}

TEST(Phases, NowIsWhatCountsElseTheInnermost) {
  Phases phases;
  EXPECT_EQ(phases.now().name, "");
  EXPECT_FALSE(phases.now().reward);
  Phase update(&phases, "update");
  {
    const Phase forward(&phases, "forward");
    EXPECT_EQ(phases.now().name, "forward");
    EXPECT_EQ(phases.now().total, 0);
  }
  update.progress(3, 8, "batches");
  const Phase backward(&phases, "backward");
  phases.set_reward(0.5);
  const Phases::Now now = phases.now();
  EXPECT_EQ(now.name, "update");
  EXPECT_EQ(now.unit, "batches");
  EXPECT_EQ(now.done, 3);
  EXPECT_EQ(now.total, 8);
  EXPECT_EQ(now.reward, 0.5);
}

TEST(Phases, SpansEndWithTheirBlockEvenByAnException) {
  Phases phases;
  std::vector<std::string> ended;
  phases.on_span([&](const Phases::Span& span) {
    EXPECT_LE(span.start, span.end);
    ended.push_back(span.path);
  });
  try {
    const Phase rollout(&phases, "rollout");
    const Phase scoring(&phases, "scoring");
    throw std::runtime_error("a reward");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(ended, (std::vector<std::string>{"rollout/scoring", "rollout"}));
  EXPECT_EQ(phases.now().name, "");
}

TEST(Phases, ACallbackThatThrowsIsNotCalledAgain) {
  Phases phases;
  int calls = 0;
  phases.on_span([&](const Phases::Span&) {
    ++calls;
    throw Error("disk full");
  });
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) const Phase phase(&phases, "update");
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("disk full"), std::string::npos);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(phases.take_metrics().size(), 1u);
}

TEST(Phases, NothingIsRecordedWithoutThem) {
  Phase phase(nullptr, "update");
  phase.progress(1, 2, "batches");
  phase.add_tokens(3);
}

// For ThreadSanitizer: one thread works, another looks on.
TEST(Phases, ManyMayLookOn) {
  Phases phases;
  std::atomic<bool> stop{false};
  std::thread looks([&] {
    while (!stop) {
      const Phases::Now now = phases.now();
      ASSERT_LE(now.done, now.total);
    }
  });
  for (int i = 0; i < 2000; ++i) {
    Phase outer(&phases, "rollout");
    outer.progress(i, i + 1, "answers");
    const Phase inner(&phases, "sampling");
    phases.set_reward(i);
    if (i % 100 == 0) phases.take_metrics();
  }
  stop = true;
  looks.join();
}

// The lines of a trace as a list; the array has no end, and every line ends with a comma.
std::vector<Json> events_of(const std::string& path) {
  std::string text = read_file(path);
  EXPECT_TRUE(text.ends_with(",\n"));
  text.resize(text.size() - 2);
  return parse_json(text + "]").as_list();
}

TEST(TraceFile, AnArrayOfCompleteEventsThatALaterRunContinues) {
  const ScratchFolder folder;
  const std::string path = folder / "trace.json";
  const auto run = [&path] {
    Phases phases;
    TraceFile trace(path, 3);
    phases.on_span([&trace](const Phases::Span& span) { trace.write(span); });
    const Phase rollout(&phases, "rollout");
    const Phase sampling(&phases, "sampling");
    std::this_thread::sleep_for(milliseconds(2));
  };
  run();
  std::vector<Json> events = events_of(path);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].at("ph"), Json("M"));
  const Json inner = events[1], outer = events[2];
  EXPECT_EQ(inner.at("name"), Json("sampling"));
  EXPECT_EQ(inner.at("cat"), Json("rollout/sampling"));
  EXPECT_EQ(outer.at("name"), Json("rollout"));
  for (const Json* event : {&inner, &outer}) {
    EXPECT_EQ(event->at("ph"), Json("X"));
    EXPECT_EQ(event->at("pid"), Json(3));
    EXPECT_GE(event->at("dur").as_double(), 2000);
  }
  // Inside the outer one, to the rounding of both to a tenth.
  const auto end = [](const Json& event) { return event.at("ts").as_double() + event.at("dur").as_double(); };
  EXPECT_LE(outer.at("ts").as_double(), inner.at("ts").as_double());
  EXPECT_LE(end(inner), end(outer) + 0.5);

  std::ofstream(path, std::ios::app) << "{\"name\": \"torn by a ki";
  run();
  events = events_of(path);
  ASSERT_EQ(events.size(), 5u);
  EXPECT_GT(events[3].at("ts").as_double(), end(outer));
  EXPECT_THROW(TraceFile(folder / "nowhere/trace.json", 0), Error);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
