#include "base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

namespace grpo::inline GRPO_ABI {
namespace {

[[noreturn]] void system_error(const std::string& action, const std::string& path, int error = errno) {
  throw Error("cannot " + action + " \"" + path + "\": " + std::strerror(error));
}

[[noreturn]] void shrank(const std::string& path, std::uint64_t size) {
  throw Error("\"" + path + "\" shrank while it was read; it had " + std::to_string(size) +
              " bytes when it was opened");
}

constexpr std::string_view kNewMark = ".new-";  // then the process and a number

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

std::size_t open_regular(Descriptor& file, const std::string& path) {
  file.value = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.value < 0) system_error("read", path);
  struct stat status = {};
  if (::fstat(file.value, &status) != 0) system_error("read", path);
  if (S_ISDIR(status.st_mode)) system_error("read", path, EISDIR);
  return static_cast<std::size_t>(status.st_size);
}

void write_all(int descriptor, const char* data, std::size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t written = ::write(descriptor, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) system_error("write", path);
    data += written;
    size -= static_cast<std::size_t>(written);
  }
}

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

std::string read_file(const std::string& path) {
  Descriptor file;
  const std::size_t size = open_regular(file, path);  // 0 for a pipe
  std::string text;
  text.reserve(size);
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = ::read(file.value, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) system_error("read", path);
    if (count == 0 && text.size() < size) shrank(path, size);
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

InputFile::InputFile(const std::string& path) : path_(path) {
  Descriptor file;
  size_ = open_regular(file, path);
  descriptor_ = std::exchange(file.value, -1);
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(std::uint64_t offset, std::span<std::byte> to) const {
  GRPO_ASSERT(offset <= size_ && to.size() <= size_ - offset);
  while (!to.empty()) {
    const ssize_t count = ::pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) system_error("read", path_);
    if (count == 0) shrank(path_, size_);
    to = to.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

std::string replaced_name(const std::string& name) {
  const std::size_t mark = name.rfind(kNewMark);
  if (mark == name.npos || name.find_first_not_of("0123456789-", mark + kNewMark.size()) != name.npos) return name;
  return name.substr(0, mark);
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  const std::string stem = path + std::string(kNewMark) + std::to_string(::getpid()) + "-";
  for (int i = 0; descriptor_ < 0; ++i) {  // another thread, or a killed process of the same number, may hold a name
    temporary_ = stem + std::to_string(i);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && (errno != EEXIST || i == 1000)) system_error("write", path);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  GRPO_ASSERT(descriptor_ >= 0);
  write_all(descriptor_, reinterpret_cast<const char*>(bytes.data()), bytes.size(), path_);
}

void AtomicFile::commit(Synced synced) {
  GRPO_ASSERT(descriptor_ >= 0);
  if (synced == Synced::Yes && ::fsync(descriptor_) != 0) system_error("write", path_);
  if (::close(std::exchange(descriptor_, -1)) != 0) system_error("write", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) system_error("replace", path_);
  temporary_.clear();
  if (synced == Synced::Yes) sync_directory(parent_of(path_));
}

void write_file_atomic(const std::string& path, std::string_view bytes, Synced synced) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit(synced);
}

AppendFile::AppendFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) system_error("append to", path);
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void AppendFile::append(std::string_view record) { write_all(descriptor_, record.data(), record.size(), path_); }

void AppendFile::sync() {
  if (::fsync(descriptor_) != 0) system_error("append to", path_);
}

void truncate_file(const std::string& path, std::uint64_t size) {
  const Descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file.value < 0 || ::ftruncate(file.value, static_cast<off_t>(size)) != 0 || ::fsync(file.value) != 0)
    system_error("truncate", path);
}

void ensure_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) system_error("make folder", path, error.value());
  if (!std::filesystem::is_directory(path, error)) system_error("make folder", path, ENOTDIR);
  if (::access(path.c_str(), W_OK | X_OK) != 0) system_error("write into folder", path);
}

void sync_directory(const std::string& path) {
  const Descriptor folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.value < 0) system_error("open folder", path);
  // Some network file systems cannot sync a folder and say EINVAL; there is nothing more to do there.
  if (::fsync(folder.value) != 0 && errno != EINVAL) system_error("sync folder", path);
}

void move_folder(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) system_error("replace", to);
  sync_directory(parent_of(to));
}

void remove_folder(const std::string& path) {
  if (!std::filesystem::exists(path)) return;
  const std::string doomed = path + ".deleted";
  std::error_code error;
  std::filesystem::remove_all(doomed, error);
  move_folder(path, doomed);
  std::filesystem::remove_all(doomed, error);
  if (error) system_error("remove", doomed, error.value());
}

std::string resolve_path(const std::string& path, const std::string& base_file) {
  const std::filesystem::path given(path);
  if (path.empty() || base_file.empty()) return path;
  const auto folder = std::filesystem::absolute(base_file).parent_path();
  return (folder / given).lexically_normal().string();
}

}  // namespace grpo::inline GRPO_ABI
