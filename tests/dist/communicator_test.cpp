#include <cstdlib>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <grpo/dist.h>

#include "dist/conformance.h"
#include "support/thread_transport.h"

namespace grpo::inline GRPO_ABI {
namespace {

class FromEnvironment : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS", "SLURM_PROCID", "WORLD_SIZE"})
      unsetenv(name);
  }
  static std::string refusal() {
    try {
      Communicator::from_environment();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::User);
      return error.what();
    }
    return "";
  }
};

// On threads of one process: MPI runs the same checks (mpi_conformance.cpp).
class OnRanks : public ::testing::TestWithParam<std::tuple<ConformanceCheck, int>> {};

TEST_P(OnRanks, Conforms) {
  const auto& [check, ranks] = GetParam();
  if (ranks == 0) {
    Communicator single = Communicator::single();
    check.run(single);
  } else {
    run_ranks(ranks, check.run);
  }
}

std::vector<ConformanceCheck> all_checks() {
  std::vector<ConformanceCheck> checks(conformance_checks().begin(), conformance_checks().end());
  checks.insert(checks.end(), failure_checks().begin(), failure_checks().end());
  return checks;
}

INSTANTIATE_TEST_SUITE_P(All, OnRanks,
                         ::testing::Combine(::testing::ValuesIn(all_checks()), ::testing::Values(0, 1, 2, 3, 4)),
                         [](const auto& instance) {
                           const int ranks = std::get<1>(instance.param);
                           return std::string(std::get<0>(instance.param).name) +
                                  (ranks == 0 ? "_single" : "_" + std::to_string(ranks));
                         });

TEST(Threads, AnExceptionIsThrownToTheCallerAndToldToTheOthers) {
  std::vector<std::string> seen(3);
  const auto body = [&](Communicator& c) {
    try {
      if (c.rank() == 1) throw std::runtime_error("a bug");
      c.barrier();
    } catch (const std::exception& error) {
      seen[static_cast<std::size_t>(c.rank())] = error.what();
      throw;
    }
  };
  try {
    run_ranks(3, body);
    FAIL();
  } catch (const Error& error) {  // rank 0's
    EXPECT_STREQ(error.what(), "rank 1: a bug");
    EXPECT_EQ(error.kind(), ErrorKind::Internal);
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"rank 1: a bug", "a bug", "rank 1: a bug"}));
}

TEST(Threads, ARankThatDoesNotComeEndsAllAtTheDeadline) {
  ::testing::internal::CaptureStderr();
  const auto body = [](Communicator& c) {
    c.set_place("step 12");
    c.barrier();
    c.set_deadline(0.2);
    if (c.rank() == 1) return;
    std::vector<float> values(4);
    c.all_reduce(values);
  };
  EXPECT_THROW(run_ranks(3, body), Error);
  const std::string log = ::testing::internal::GetCapturedStderr();
  for (const char* rank : {"rank 0 of 3", "rank 2 of 3"}) {
    EXPECT_NE(log.find(std::string("deadline expired: ") + rank +
                       ", step 12: in all_reduce<float> of 16 bytes, sum (collective 2) for "),
              std::string::npos)
        << log;
  }
  EXPECT_NE(log.find("s; last finished: barrier (collective 1)"), std::string::npos) << log;
}

TEST(Single, UseAfterAMoveIsCaught) {
  Communicator communicator = Communicator::single();
  Communicator other = std::move(communicator);
  EXPECT_EQ(other.size(), 1);
  EXPECT_THROW(communicator.rank(), Error);  // NOLINT(bugprone-use-after-move)
}

TEST_F(FromEnvironment, IsOneRankWithoutALauncher) { EXPECT_EQ(Communicator::from_environment().size(), 1); }

TEST_F(FromEnvironment, ALauncherOfOneRankIsServed) {
  setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
  setenv("WORLD_SIZE", "1", 1);
  EXPECT_EQ(Communicator::from_environment().size(), 1);
}

TEST_F(FromEnvironment, MoreRanksAreRefusedByName) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "WORLD_SIZE"}) {
    clear();
    setenv(name, "4", 1);
    const std::string message = refusal();
    EXPECT_NE(message.find(std::string("4 ranks (") + name), std::string::npos) << message;
    EXPECT_NE(message.find("this build has no multi-process transport"), std::string::npos) << message;
  }
}

TEST_F(FromEnvironment, SlurmCountsOnlyInsideATask) {
  setenv("SLURM_NTASKS", "2", 1);
  EXPECT_EQ(Communicator::from_environment().size(), 1);
  setenv("SLURM_PROCID", "0", 1);
  EXPECT_NE(refusal().find("2 ranks (SLURM_NTASKS)"), std::string::npos);
}

TEST_F(FromEnvironment, AWorldSizeThatIsNoNumberIsAnError) {
  for (const char* text : {"two", "0", "-3", "2x", "99999999999"}) {
    setenv("WORLD_SIZE", text, 1);
    EXPECT_NE(refusal().find("WORLD_SIZE: expected a number of ranks"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
