#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {
namespace {

class FromEnvironment : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID", "WORLD_SIZE"}) unsetenv(name);
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

TEST(Single, IsOneRankWhoseCollectivesKeepValues) {
  Communicator communicator = Communicator::single();
  EXPECT_EQ(communicator.rank(), 0);
  EXPECT_EQ(communicator.size(), 1);
  std::vector<float> floats{1.5f, -2.0f};
  std::vector<double> doubles{0.25, 1e300};
  for (const Reduce op : {Reduce::Sum, Reduce::Min, Reduce::Max}) {
    communicator.all_reduce(floats, op);
    communicator.all_reduce(doubles, op);
  }
  communicator.broadcast(std::as_writable_bytes(std::span(floats)), 0);
  communicator.barrier();
  EXPECT_EQ(floats, (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(doubles, (std::vector<double>{0.25, 1e300}));
}

TEST(Single, RefusesARootThatIsNoRank) {
  Communicator communicator = Communicator::single();
  std::vector<std::byte> bytes(4);
  EXPECT_THROW(communicator.broadcast(bytes, 1), Error);
  EXPECT_THROW(communicator.broadcast(bytes, -1), Error);
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
