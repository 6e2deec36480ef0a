#include "base/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/error_text.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_ / name; }
  std::size_t num_entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()));
  }

  ScratchFolder folder_;
};

TEST_F(Files, WritesAndReadsAnyBytes) {
  const std::string bytes("a\0b\n\xFF", 5);
  write_file_atomic(at("f"), bytes);
  EXPECT_EQ(read_file(at("f")), bytes);
  write_file_atomic(at("f"), "");
  EXPECT_EQ(read_file(at("f")), "");
  EXPECT_EQ(num_entries(), 1u);
}

TEST_F(Files, AnAbandonedWriteLeavesTheOldFile) {
  write_file_atomic(at("f"), "old");
  {
    AtomicFile file(at("f"));
    file.write("half of the new");
    EXPECT_EQ(num_entries(), 2u);
  }
  EXPECT_EQ(read_file(at("f")), "old");
  EXPECT_EQ(num_entries(), 1u);
  {
    AtomicFile file(at("f"));
    file.write("the ");
    file.write("new");
    EXPECT_EQ(read_file(at("f")), "old");
    file.commit();
  }
  EXPECT_EQ(read_file(at("f")), "the new");
  EXPECT_EQ(num_entries(), 1u);
}

TEST_F(Files, AFailedReplacementLeavesEverythingAsItWas) {
  fs::create_directory(at("taken"));  // a file cannot be renamed over a folder
  write_file_atomic(at("taken/inside"), "x");
  EXPECT_NE(error_text([&] { write_file_atomic(at("taken"), "new"); }).find("cannot replace \"" + at("taken")),
            std::string::npos);
  EXPECT_EQ(read_file(at("taken/inside")), "x");
  EXPECT_EQ(num_entries(), 1u);
}

TEST_F(Files, AFullDiskIsAnErrorAndTheOldFileStands) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  AppendFile file("/dev/full");
  EXPECT_NE(error_text([&] { file.append("x\n"); }).find("No space left"), std::string::npos);
}

TEST_F(Files, ANewFileGetsTheModeOfAnyOther) {
  write_file_atomic(at("f"), "x");
  struct stat status = {};
  ASSERT_EQ(::stat(at("f").c_str(), &status), 0);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask);
}

TEST_F(Files, ErrorsNamePathAndReason) {
  EXPECT_EQ(error_text([&] { read_file(at("none")); }),
            "cannot read \"" + at("none") + "\": No such file or directory");
  EXPECT_EQ(error_text([&] { read_file(folder_.path()); }), "cannot read \"" + folder_.path() + "\": Is a directory");
  EXPECT_EQ(error_text([&] { InputFile(at("none")); }),
            "cannot read \"" + at("none") + "\": No such file or directory");
  EXPECT_EQ(error_text([&] { InputFile{folder_.path()}; }), "cannot read \"" + folder_.path() + "\": Is a directory");
  EXPECT_NE(error_text([&] { write_file_atomic(at("no/such/f"), ""); }).find("No such file"), std::string::npos);
  EXPECT_NE(error_text([&] { AppendFile(at("no/such/f")); }).find("No such file"), std::string::npos);
}

TEST_F(Files, ReadsAtAnyPlace) {
  write_file_atomic(at("f"), "anywhere");
  const InputFile file(at("f"));
  EXPECT_EQ(file.size(), 8u);
  char text[4] = {};
  file.read(3, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(std::string(text, 4), "wher");
  file.read(8, {});
  write_file_atomic(at("empty"), "");
  EXPECT_EQ(InputFile(at("empty")).size(), 0u);
}

TEST_F(Files, AFileThatShrinksWhileItIsReadIsAnError) {
  write_file_atomic(at("f"), std::string(100, 'x'));
  const InputFile file(at("f"));
  truncate_file(at("f"), 50);
  char text[60];
  file.read(10, std::as_writable_bytes(std::span(text).first(40)));
  EXPECT_EQ(error_text([&] { file.read(10, std::as_writable_bytes(std::span(text))); }),
            "\"" + at("f") + "\" shrank while it was read; it had 100 bytes when it was opened");
}

TEST_F(Files, AFilesChecksumIsThatOfItsBytes) {
  for (const std::size_t size : {0u, 1u, 31u, 32u, 100u, 1u << 20, (1u << 20) + 77, 3u << 20}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + i / 1000);
    write_file_atomic(at("f"), bytes);
    EXPECT_EQ(checksum_of_file(at("f")), checksum_hex(bytes)) << size;
  }
}

TEST_F(Files, AFolderIsMovedAndRemovedAsOne) {
  fs::create_directories(at("a.partial"));
  write_file_atomic(at("a.partial/f"), "x");
  move_folder(at("a.partial"), at("a"));
  EXPECT_EQ(read_file(at("a/f")), "x");
  fs::create_directories(at("a.deleted/old"));  // of a removal that was killed
  remove_folder(at("a"));
  remove_folder(at("a"));  // there is none
  EXPECT_EQ(num_entries(), 0u);
  EXPECT_NE(error_text([&] { move_folder(at("none"), at("a")); }).find("No such file"), std::string::npos);
}

TEST_F(Files, AppendsRecords) {
  {
    AppendFile file(at("log"));
    file.append("one\n");
    EXPECT_EQ(read_file(at("log")), "one\n");  // there before the file is closed
  }
  AppendFile file(at("log"));
  file.append("two\n");
  file.sync();
  EXPECT_EQ(read_file(at("log")), "one\ntwo\n");
}

TEST_F(Files, MakesFolders) {
  ensure_directory(at("a/b/c"));
  ensure_directory(at("a/b/c"));
  EXPECT_TRUE(fs::is_directory(at("a/b/c")));
  write_file_atomic(at("file"), "");
  EXPECT_NE(error_text([&] { ensure_directory(at("file")); }).find("Not a directory"), std::string::npos);
  EXPECT_NE(error_text([&] { ensure_directory(at("file/below")); }).find("Not a directory"), std::string::npos);
  if (::geteuid() == 0) return;  // root may write everywhere
  fs::permissions(at("a"), fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_NE(error_text([&] { ensure_directory(at("a")); }).find("Permission denied"), std::string::npos);
  EXPECT_NE(error_text([&] { ensure_directory(at("a/new")); }).find("Permission denied"), std::string::npos);
  fs::permissions(at("a"), fs::perms::owner_all);
}

TEST_F(Files, ResolvesPathsFromTheFolderOfAFile) {
  EXPECT_EQ(resolve_path("x/../y.jsonl", "/runs/a.yaml"), "/runs/y.jsonl");
  EXPECT_EQ(resolve_path("../m", "/runs/deep/a.yaml"), "/runs/m");
  EXPECT_EQ(resolve_path("/abs", "/runs/a.yaml"), "/abs");
  EXPECT_EQ(resolve_path("", "/runs/a.yaml"), "");
  EXPECT_EQ(resolve_path("x", ""), "x");
  EXPECT_EQ(resolve_path("x", "a.yaml"), (fs::current_path() / "x").string());
}

// Known answers of XXH64 with seed 0; the last has more than one block of 32 bytes.
TEST(Checksum, KnownAnswers) {
  EXPECT_EQ(checksum_hex(""), "ef46db3751d8e999");
  EXPECT_EQ(checksum_hex("a"), "d24ec4f1a98c6e5b");
  EXPECT_EQ(checksum_hex("abc"), "44bc2cf5ad770999");
  EXPECT_EQ(checksum_hex("Nobody inspects the spammish repetition"), "fbcea83c8a378bf1");
}

TEST_F(Files, KnowsWhatAKilledWriteWasToReplace) {
  EXPECT_EQ(replaced_name("model.safetensors.new-4711-0"), "model.safetensors");
  EXPECT_EQ(replaced_name("a.new-1-0.new-12-3"), "a.new-1-0");
  for (const char* other : {"model.safetensors", "", "notes.new-draft", "new-1-0"})
    EXPECT_EQ(replaced_name(other), other);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
