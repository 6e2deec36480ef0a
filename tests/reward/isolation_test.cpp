#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "reward/plugins.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

using test::data;
using test::error_of;
using test::group;
using test::Group;
using test::judge;
using test::kind_of;
using test::plugin_entry;
using test::reward_set;

class IsolatedReward : public testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("GRPO_REWARD_WORKER", GRPO_TEST_WORKER, 1); }
  static RewardEntry moody(const std::string& params = "") {
    return plugin_entry("moods", "moody", Isolation::Process, params);
  }
};

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string id, name, state;
  return stat >> id >> name >> state && state != "Z";
}

// Waits half a minute at most.
bool dies(pid_t pid) {
  for (int i = 0; i < 3000 && is_alive(pid); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !is_alive(pid);
}

TEST_F(IsolatedReward, CrashIsCountedAndTheWorkerReplaced) {
  RewardSet set = reward_set({moody()}, 1.0);
  const auto scores = set.score(std::vector<Group>{group({"pid", "crash", "pid", "exit", "pid"})}, true);
  const auto& verdicts = scores[0].verdicts;
  EXPECT_TRUE(std::isnan(scores[0].totals[1]) && std::isnan(scores[0].totals[3]));
  EXPECT_EQ(verdicts[1][0].verdict, "infrastructure");
  EXPECT_NE(verdicts[1][0].why.find("the reward's worker process "), std::string::npos) << verdicts[1][0].why;
  EXPECT_EQ(verdicts[3][0].why, "the reward's worker process ended with exit code 7");
  EXPECT_NE(verdicts[0][0].why, std::to_string(getpid()));
  EXPECT_NE(verdicts[0][0].why, verdicts[2][0].why) << "another worker";
  EXPECT_NE(verdicts[2][0].why, verdicts[4][0].why);
  EXPECT_EQ(set.failures().at("moody").scored, 3);
  EXPECT_EQ(set.failures().at("moody").infrastructure, 2);
  EXPECT_EQ(set.failures().at("moody").thrown, 0);
  EXPECT_EQ(judge(set, data("pid")).why, verdicts[4][0].why) << "a worker serves on";
}

TEST_F(IsolatedReward, IsKilledAtItsDeadline) {
  RewardEntry entry = moody();
  entry.timeout_s = 1;
  RewardSet set = reward_set({entry}, 1.0);
  const auto pid = static_cast<pid_t>(std::stol(judge(set, data("pid")).why));
  const auto start = std::chrono::steady_clock::now();
  const auto scores = set.score(std::vector<Group>{group({"a", "sleep", "b"})}, true);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_EQ(scores[0].totals[0], 0.5);
  EXPECT_EQ(scores[0].verdicts[1][0].verdict, "timeout");
  EXPECT_EQ(scores[0].totals[2], 0.5);
  EXPECT_EQ(set.failures().at("moody").timed_out, 1);
  EXPECT_TRUE(dies(pid));
}

TEST_F(IsolatedReward, StopsEarlyWhenEverythingHangs) {
  RewardEntry entry = moody();
  entry.timeout_s = 0.1;
  RewardSet set = reward_set({entry}, 0.1);
  const std::vector<Group> groups(20, group({"sleep"}));
  EXPECT_EQ(kind_of([&] { set.score(groups, true); }), ErrorKind::Guard);
  EXPECT_LE(set.failures().at("moody").timed_out, 3) << "2 of 20 are allowed";
}

TEST_F(IsolatedReward, CrashesStopARunToo) {
  RewardSet set = reward_set({moody()}, 0.1);
  const std::vector<Group> groups(20, group({"exit"}));
  const std::string error = error_of([&] { set.score(groups, true); });
  EXPECT_NE(error.find("broken workers"), std::string::npos) << error;
  EXPECT_LE(set.failures().at("moody").infrastructure, 3);
}

TEST_F(IsolatedReward, WorkersEndWithTheirSet) {
  pid_t pid = 0;
  {
    RewardSet set = reward_set({moody()});
    pid = static_cast<pid_t>(std::stol(judge(set, data("pid")).why));
    EXPECT_TRUE(is_alive(pid));
  }
  EXPECT_TRUE(dies(pid));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose allocator knows no limit
TEST_F(IsolatedReward, MemoryIsBounded) {
  RewardSet set = reward_set({moody()}, 1.0);
  set.score(std::vector<Group>{group({"eat", "a"})}, false);
  EXPECT_EQ(set.failures().at("moody").thrown, 1);
  EXPECT_EQ(set.failures().at("moody").scored, 1);
}
#endif

TEST_F(IsolatedReward, LargeAnswersGoThrough) {
  RewardSet set = reward_set({plugin_entry("moods", "share", Isolation::Process)});
  auto large = data(std::string(5'000'000, 'x'));  // more than a socket's buffer
  large->token_ids.assign(1'000'000, 1);
  EXPECT_EQ(set.score(std::vector<Group>{{large, data(std::string(2'500'000, 'y'))}}, true)[0].totals,
            (std::vector<double>{1, 0.5}));
}

TEST_F(IsolatedReward, MissingProgramIsAnError) {
  setenv("GRPO_REWARD_WORKER", "/nowhere/worker", 1);
  EXPECT_EQ(error_of([] { reward_set({moody()}); }),
            "rewards.moody.isolation: GRPO_REWARD_WORKER: expected a program, got '/nowhere/worker'");
  unsetenv("GRPO_REWARD_WORKER");
  const std::string path = getenv("PATH");
  setenv("PATH", "/nowhere", 1);
  EXPECT_EQ(error_of([] {
              reward_set({moody()});
            }).rfind("rewards.moody.isolation: a worker process needs the program grpo-reward-worker", 0),
            0u);
  setenv("PATH", std::filesystem::path(GRPO_TEST_WORKER).parent_path().c_str(), 1);
  reward_set({moody()});
  setenv("PATH", path.c_str(), 1);
  setenv("GRPO_REWARD_WORKER", "/bin/true", 1);  // a program that says nothing
  EXPECT_NE(error_of([] { reward_set({moody()}); }).find("rewards.moody.plugin: the reward's worker process "),
            std::string::npos);
  setenv("GRPO_REWARD_WORKER", GRPO_TEST_WORKER, 1);
}

// Run by the next test in a process of its own, which is killed while the plug-in hangs.
TEST_F(IsolatedReward, DISABLED_HangsForEver) {
  RewardSet set = reward_set({moody("{pid_file: " + std::string(getenv("GRPO_TEST_PID_FILE")) + "}")});
  judge(set, data("sleep"));
}

TEST_F(IsolatedReward, WorkersEndWithTheirParent) {
  const ScratchFolder folder;
  const std::string file = folder / "worker.pid";
  std::string variable = "GRPO_TEST_PID_FILE=" + file, worker = "GRPO_REWARD_WORKER=" GRPO_TEST_WORKER;
  std::string program = "/proc/self/exe", filter = "--gtest_filter=*DISABLED_HangsForEver",
              disabled = "--gtest_also_run_disabled_tests";
  char* arguments[] = {program.data(), filter.data(), disabled.data(), nullptr};
  char* variables[] = {variable.data(), worker.data(), nullptr};
  pid_t parent = 0;
  ASSERT_EQ(posix_spawn(&parent, program.c_str(), nullptr, nullptr, arguments, variables), 0);
  pid_t pid = 0;
  for (int i = 0; i < 3000 && pid == 0; ++i) {
    std::ifstream(file) >> pid;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_NE(pid, 0);
  EXPECT_TRUE(is_alive(pid));
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  EXPECT_TRUE(dies(pid));
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
