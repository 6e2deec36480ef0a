#include "base/jsonl.h"

#include <gtest/gtest.h>

#include "base/error_text.h"
#include "base/files.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct Lines : testing::Test {
  ScratchFolder folder;
  std::string path = folder / "rows.jsonl";

  std::string read(const std::string& text, int at_most = 100) {
    write_file_atomic(path, text);
    std::string all;
    for_each_jsonl_row(path, [&](const Json& row, std::uint64_t end) {
      all += row.dump() + "@" + std::to_string(end) + " ";
      return --at_most > 0;
    });
    return all;
  }
};

TEST_F(Lines, GiveRowsAndWhereTheyEnd) {
  EXPECT_EQ(read("{\"a\": 1}\n\n[2]\n"), "{\"a\": 1}@9 [2]@14 ");
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read("1\n2\n3\n", 2), "1@2 2@4 ");
}

TEST_F(Lines, ALineCutShortIsNoRow) {
  EXPECT_EQ(read("1\n{\"step\": "), "1@2 ");
  EXPECT_EQ(read("1\n2"), "1@2 ");  // it may go on: 23
}

TEST_F(Lines, ComplaintsNameTheLine) {
  EXPECT_NE(error_text([&] { read("1\n\nx\n4\n"); }).find(path + ":3"), std::string::npos);
  EXPECT_NE(error_text([&] { for_each_jsonl_row(path + "-none", {}); }).find(path + "-none"), std::string::npos);
}

TEST_F(Lines, AFileIsCutInPlace) {
  write_file_atomic(path, "1\n2\n");
  truncate_file(path, 2);
  EXPECT_EQ(read_file(path), "1\n");
  EXPECT_NE(error_text([&] { truncate_file(path + "-none", 0); }).find("cannot truncate"), std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
