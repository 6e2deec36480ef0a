#include <cstdint>
#include <fstream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include <grpo/ops.h>

#include "ops/threads.h"

namespace grpo::inline GRPO_ABI {
namespace {

class Threads : public ::testing::Test {
 protected:
  void TearDown() override {
    set_threads(0);
    force_isa("");
  }
};

TEST_F(Threads, TwoThreadsMakeTwoPieces) {
  set_threads(2);
  EXPECT_EQ(num_threads(), 2);
  const kernels::Team team = ops::team();
  EXPECT_EQ(team.size, 2);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  int pieces = 0;
  team.split(1000, 1, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard<std::mutex> lock(mutex);
    EXPECT_EQ(end - begin, 500);
    ++pieces;
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(pieces, 2);
  EXPECT_EQ(threads.size(), 2u) << "both pieces ran on one thread: is -fopenmp missing?";
}

TEST_F(Threads, ATasksExceptionReachesTheCaller) {
  set_threads(2);
  EXPECT_THROW(ops::team().split(2, 1,
                                 [](std::int64_t begin, std::int64_t) {
                                   if (begin == 1) throw std::runtime_error("second");
                                 }),
               std::runtime_error);
}

TEST_F(Threads, OneOpenMpIsMapped) {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> found;
  for (std::string line; std::getline(maps, line);) {
    const std::size_t slash = line.find('/');
    if (slash == std::string::npos) continue;
    const std::string path = line.substr(slash), name = path.substr(path.rfind('/') + 1);
    if (name.rfind("libgomp", 0) == 0 || name.rfind("libiomp", 0) == 0 || name.rfind("libomp", 0) == 0)
      found.insert(path);
  }
  EXPECT_EQ(found.size(), 1u);
}

TEST_F(Threads, NumbersAndNamesAreChecked) {
  EXPECT_THROW(set_threads(-1), Error);
  EXPECT_THROW(force_isa("sse9"), Error);
  force_isa("scalar");
  EXPECT_EQ(isa_name(), "scalar");
  force_isa("");
  EXPECT_EQ(isa_name(), kernels::name(kernels::best_isa()));
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
