#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <grpo/dist.h>

#include "dist/conformance.h"
#include "dist/launcher.h"
#include "dist/rank_status.h"
#include "support/thread_transport.h"

namespace grpo::inline GRPO_ABI {
namespace {

class FromEnvironment : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name :
         {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS", "SLURM_PROCID", "WORLD_SIZE", "GRPO_MPI_LIBRARY"})
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

TEST_F(FromEnvironment, TorchrunIsSentToMpirun) {
  setenv("WORLD_SIZE", "4", 1);
  const std::string message = refusal();
  EXPECT_NE(message.find("torchrun started 4 ranks (WORLD_SIZE)"), std::string::npos) << message;
  EXPECT_NE(message.find("mpirun -n 4 --bind-to none"), std::string::npos) << message;
}

TEST_F(FromEnvironment, TheFirstLauncherThatLeftAMarkDecides) {
  setenv("SLURM_NTASKS", "8", 1);
  setenv("SLURM_PROCID", "0", 1);
  setenv("WORLD_SIZE", "3", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "1", 1);  // mpirun -n 1 inside a job of 8 tasks
  EXPECT_EQ(announced_launch().launcher, "mpirun");
  EXPECT_EQ(Communicator::from_environment().size(), 1);
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(announced_launch().launcher, "Slurm");
  EXPECT_EQ(announced_launch().ranks, 8);
}

TEST_F(FromEnvironment, SlurmCountsOnlyInsideATask) {
  setenv("SLURM_NTASKS", "2", 1);
  EXPECT_EQ(announced_launch().ranks, 1);
  setenv("SLURM_PROCID", "0", 1);
  EXPECT_EQ(announced_launch().ranks, 2);
}

TEST_F(FromEnvironment, WithoutTheLibraryItSaysWhatToInstall) {
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  setenv("GRPO_MPI_LIBRARY", "/nowhere/libgrpo_mpi.so", 1);
  const std::string message = refusal();
  EXPECT_NE(message.find("mpirun started 2 ranks (OMPI_COMM_WORLD_SIZE), which need MPI"), std::string::npos)
      << message;
  EXPECT_NE(message.find("/nowhere/libgrpo_mpi.so"), std::string::npos) << message;
  EXPECT_NE(message.find("libopenmpi-dev"), std::string::npos) << message;
}

TEST_F(FromEnvironment, AWorldSizeThatIsNoNumberIsAnError) {
  for (const char* text : {"two", "0", "-3", "2x", "99999999999"}) {
    setenv("WORLD_SIZE", text, 1);
    EXPECT_NE(refusal().find("WORLD_SIZE: expected a number of ranks"), std::string::npos) << text;
  }
}

std::string threads_refused(int configured, int cpus, int sharers) {
  try {
    threads_of_rank(configured, cpus, sharers);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ThreadsOfRank, ShareTheProcessorsUnlessConfigured) {
  EXPECT_EQ(threads_of_rank(0, 16, 4), 4);
  EXPECT_EQ(threads_of_rank(0, 16, 1), 16);  // bound to processors of its own
  EXPECT_EQ(threads_of_rank(0, 2, 4), 1);
  EXPECT_EQ(threads_of_rank(0, 7, 2), 3);
  EXPECT_EQ(threads_of_rank(2, 2, 4), 2);
  EXPECT_EQ(threads_of_rank(1, 16, 4), 1);
}

TEST(ThreadsOfRank, MoreThanTheProcessorsAreRefused) {
  EXPECT_EQ(threads_refused(2, 1, 2),
            "threads: 2, but this rank may run on 1 core; mpirun binds ranks to cores: add --bind-to none, or lower "
            "threads");
  EXPECT_NE(threads_refused(3, 2, 1).find("2 cores"), std::string::npos);
}

TEST(ThreadsOfRank, AskTheOthersWhoSharesTheProcessors) {
  std::vector<int> threads(4);
  run_ranks(4, [&](Communicator& c) { threads[static_cast<std::size_t>(c.rank())] = threads_of_rank(c, 0); });
  EXPECT_EQ(threads, std::vector<int>(4, std::max(1, allowed_cpus() / 4)));
}

// What write_rank_status() writes, to a pipe.
std::string written_status() {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  write_rank_status(ends[1]);
  close(ends[1]);
  char text[4096];
  const ssize_t length = read(ends[0], text, sizeof text);
  close(ends[0]);
  return {text, static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

std::string without_seconds(const std::string& line) {
  const std::size_t begin = line.find(" for ") + 5;
  const std::size_t end = line.find_first_not_of("0123456789", begin);
  return end == begin ? line : line.substr(0, begin) + "N" + line.substr(end);
}

TEST(RankStatus, IsTheSameLineForTheLogAndForASignalHandler) {
  RankStatus status(1, 4);
  EXPECT_EQ(written_status(), "");  // ranks are not processes yet
  status.publish();
  EXPECT_EQ(without_seconds(written_status()), "rank 1 of 4: outside collectives for N s; last finished: nothing\n");
  status.set_place("step\n12");
  status.enter("barrier (collective 7)");
  EXPECT_EQ(without_seconds(written_status()), without_seconds(status.text() + "\n"));
  EXPECT_EQ(without_seconds(status.text()),
            "rank 1 of 4, step\\x0a12: in barrier (collective 7) for N s; last finished: nothing");
  status.leave();
  status.set_place(std::string(2000, 'x'));  // cut, and still a line
  const std::string line = written_status();
  EXPECT_LT(line.size(), 1000u);
  EXPECT_EQ(line.back(), '\n');
  EXPECT_EQ(status.text().substr(status.text().find("; last")), "; last finished: barrier (collective 7)");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
