// Files: whole reads, reads at any place, atomic replacement, appended records, folders, checksums.
//
// Every failure is an Error that names the path and the system's reason. Values and services without shared
// state: one object is for one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

std::string read_file(const std::string& path);

// A file to read from at any place, by several threads at once. One that has become shorter than it was when it was
// opened is an Error, where a mapping would end the process.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  void read(std::uint64_t offset, std::span<std::byte> to) const;  // within size()

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

enum class Synced { Yes, No };  // No: whole for readers, but a loss of power may cost old and new

// A new file that takes the place of `path` at commit(), all or nothing: written beside, synced, renamed, and the
// folder synced. Without commit() the old file stands and nothing is left behind.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit(Synced synced = Synced::Yes);

 private:
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

// The name that a file of a killed AtomicFile was to replace; any other name as it is.
std::string replaced_name(const std::string& name);

void write_file_atomic(const std::string& path, std::string_view bytes, Synced synced = Synced::Yes);

// Whole records at the end of a file: each append is one write to the system, so readers see whole records and a
// killed process loses none.
class AppendFile {
 public:
  explicit AppendFile(const std::string& path);
  ~AppendFile();
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) noexcept;

  void append(std::string_view record);  // written as it is; a line brings its own newline
  void sync();                           // on the disk, not only with the system

 private:
  std::string path_;
  int descriptor_ = -1;
};

// Cuts a file in place: all of it is there or the beginning is, whatever happens meanwhile.
void truncate_file(const std::string& path, std::uint64_t size);

// Makes the folder and those above it; an existing writable folder is fine, anything else in its place is not.
void ensure_directory(const std::string& path);
// Syncs a folder, so that a rename inside it survives a loss of power.
void sync_directory(const std::string& path);

// Gives a finished folder its name, on the disk as well.
void move_folder(const std::string& from, const std::string& to);
// Removes a folder, under another name (`path`.deleted): half of it never stands under its own.
void remove_folder(const std::string& path);

// An absolute path of `path` seen from the folder that holds `base_file`. An empty `path` or `base_file` gives
// `path` as it is.
std::string resolve_path(const std::string& path, const std::string& base_file);

// XXH64 with seed 0, as 16 hexadecimal digits.
std::string checksum_hex(std::span<const std::byte> bytes);
std::string checksum_of_file(const std::string& path);
inline std::string checksum_hex(std::string_view text) { return checksum_hex(std::as_bytes(std::span(text))); }

}  // namespace grpo::inline GRPO_ABI
