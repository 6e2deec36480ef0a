// XXH64, written from its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), little-endian machines.
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9u;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63u;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5u;

template <class T>
std::uint64_t load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

std::uint64_t round(std::uint64_t lane, std::uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }

class Xxh64 {
 public:
  // Blocks of 32 bytes, as many as there are.
  void add_blocks(std::span<const std::byte> bytes) {
    for (const std::byte* data = bytes.data(); data != bytes.data() + bytes.size(); data += 32) {
      for (int i = 0; i < 4; ++i) lanes_[i] = round(lanes_[i], load<std::uint64_t>(data + 8 * i));
    }
    size_ += bytes.size();
  }

  // The rest, less than 32 bytes.
  std::uint64_t finish(std::span<const std::byte> bytes) const {
    std::uint64_t hash = kPrime5;
    if (size_ > 0) {
      hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
      for (const std::uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
    }
    hash += size_ + bytes.size();
    const std::byte* data = bytes.data();
    const std::byte* end = data + bytes.size();
    for (; end - data >= 8; data += 8) {
      hash = std::rotl(hash ^ round(0, load<std::uint64_t>(data)), 27) * kPrime1 + kPrime4;
    }
    if (end - data >= 4) {
      hash = std::rotl(hash ^ load<std::uint32_t>(data) * kPrime1, 23) * kPrime2 + kPrime3;
      data += 4;
    }
    for (; data != end; ++data) hash = std::rotl(hash ^ load<std::uint8_t>(data) * kPrime5, 11) * kPrime1;
    hash = (hash ^ hash >> 33) * kPrime2;
    hash = (hash ^ hash >> 29) * kPrime3;
    return hash ^ hash >> 32;
  }

 private:
  std::uint64_t lanes_[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
  std::uint64_t size_ = 0;
};

std::string hex(std::uint64_t hash) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text(16, '0');
  for (int i = 0; i < 16; ++i) text[static_cast<std::size_t>(i)] = kHex[hash >> (60 - 4 * i) & 15];
  return text;
}

}  // namespace

std::string checksum_hex(std::span<const std::byte> bytes) {
  const std::size_t blocks = bytes.size() / 32 * 32;
  Xxh64 hash;
  hash.add_blocks(bytes.first(blocks));
  return hex(hash.finish(bytes.subspan(blocks)));
}

std::string checksum_of_file(const std::string& path) {
  const InputFile file(path);
  std::vector<std::byte> buffer(1 << 20);  // whole blocks
  Xxh64 hash;
  std::uint64_t offset = 0;
  for (; file.size() - offset >= buffer.size(); offset += buffer.size()) {
    file.read(offset, buffer);
    hash.add_blocks(buffer);
  }
  buffer.resize(static_cast<std::size_t>(file.size() - offset));
  file.read(offset, buffer);
  const std::size_t blocks = buffer.size() / 32 * 32;
  hash.add_blocks(std::span(buffer).first(blocks));
  return hex(hash.finish(std::span(buffer).subspan(blocks)));
}

}  // namespace grpo::inline GRPO_ABI
