#include <algorithm>
#include <fstream>
#include <numeric>

#include <grpo/text.h>
#include <gtest/gtest.h>

#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

class DatasetFile : public testing::Test {
 protected:
  Dataset load(const std::string& bytes, int max_rows = 0) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return Dataset::load(path_, max_rows);
  }
  // The message without the folder; empty when it loads.
  std::string error_of(const std::string& bytes) {
    try {
      load(bytes);
    } catch (const Error& error) {
      const std::string message = error.what();
      const std::size_t at = message.find(path_);
      return at == std::string::npos ? message : message.substr(at + path_.size());
    }
    return "";
  }

  ScratchFolder folder_;
  std::string path_ = folder_ / "rows.jsonl";
};

TEST_F(DatasetFile, ReadsRowsWithTheirLines) {
  const Dataset data = load("\xEF\xBB\xBF{\"a\": 1}\r\n\n  \t\r\n{\"a\": \"\xC3\xBC\"}\n{\"a\": 3}");
  ASSERT_EQ(data.size(), 3u);
  EXPECT_EQ(data.row(0).at("a").as_int(), 1);
  EXPECT_EQ(data.row(1).at("a").as_string(), "\xC3\xBC");
  EXPECT_EQ(data.row(0).line(), 1);
  EXPECT_EQ(data.row(1).line(), 4);
  EXPECT_EQ(data.row(2).line(), 5);
  EXPECT_EQ(data.source(), path_);
}

TEST_F(DatasetFile, StopsAtMaxRows) {
  EXPECT_EQ(load("{}\n{}\n{}\n", 2).size(), 2u);
  EXPECT_EQ(load("{}\n{}\n{}\n", 9).size(), 3u);
  EXPECT_THROW(load("{}\n", -1), Error);
}

TEST_F(DatasetFile, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("{\"a\": 1}\n\n{\"a\": 1").substr(0, 3), ":3:");
  EXPECT_EQ(error_of("{\"a\": 1}\n[1, 2]\n"), ":2: expected a row as a JSON object, got [1, 2]");
  EXPECT_EQ(error_of("{\"a\": 1} {\"a\": 2}\n").substr(0, 3), ":1:");
  EXPECT_EQ(error_of("{}\n{\"a\": \"\xff\"}\n").substr(0, 3), ":2:");
  EXPECT_EQ(error_of(std::string("{}\n{\"a\": \"x\0y\"}\n", 16)).substr(0, 3), ":2:");
  EXPECT_EQ(error_of(std::string("{}\n\0\n", 5)).substr(0, 3), ":2:");
  EXPECT_EQ(error_of("{}\n" + std::string(100'000, '[')).substr(0, 3), ":2:");
  EXPECT_EQ(error_of("{\"a\": 1, \"a\": 2}\n").substr(0, 3), ":1:");
}

TEST_F(DatasetFile, EmptyFilesAreErrors) {
  for (const char* bytes : {"", "\n\n", "\xEF\xBB\xBF", " \t\r\n"}) {
    EXPECT_EQ(error_of(bytes), ": expected at least one row of JSON, got none");
  }
  EXPECT_THROW(Dataset::load(path_ + ".absent"), Error);
  EXPECT_THROW(Dataset::load(folder_.path()), Error);
}

TEST(Dataset, FromRows) {
  EXPECT_EQ(Dataset::from_rows({Json(Json::Object{{"q", 1}})}, "code").size(), 1u);
  EXPECT_THROW(Dataset::from_rows({}, "code"), Error);
  EXPECT_THROW(Dataset::from_rows({Json(1)}, "code"), Error);
}

std::vector<std::uint64_t> epoch(const RowOrder& order, std::uint64_t size, std::uint64_t number) {
  std::vector<std::uint64_t> rows;
  for (std::uint64_t i = 0; i < size; ++i) rows.push_back(order.row_at(number * size + i));
  return rows;
}

TEST(RowOrder, EveryEpochIsAnotherPermutation) {
  const RowOrder order(50, 7, true);
  std::vector<std::uint64_t> all(50);
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::vector<std::uint64_t>> epochs;
  for (std::uint64_t number = 0; number < 3; ++number) {
    epochs.push_back(epoch(order, 50, number));
    std::vector<std::uint64_t> sorted = epochs.back();
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, all);
    EXPECT_NE(epochs.back(), all);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_EQ(epoch(order, 50, 0), epochs[0]);  // positions can be visited in any order
  EXPECT_EQ(epoch(RowOrder(50, 7, true), 50, 2), epochs[2]);
  EXPECT_NE(epoch(RowOrder(50, 8, true), 50, 0), epochs[0]);
}

TEST(RowOrder, WithoutShuffleRowsComeInOrder) {
  const RowOrder order(3, 7, false);
  EXPECT_EQ(epoch(order, 3, 1), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_THROW(RowOrder(0, 7, true), Error);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
