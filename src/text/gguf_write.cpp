#include "text/gguf_write.h"

#include <bit>
#include <cstring>

namespace grpo::inline GRPO_ABI {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian and written as numbers are");

enum ValueType : std::uint32_t { kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <class T>
void append_number(std::string& bytes, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  bytes.append(raw, sizeof value);
}

}  // namespace

void GgufMetadata::append(std::string& bytes, std::uint32_t value) { append_number(bytes, value); }
void GgufMetadata::append(std::string& bytes, std::uint64_t value) { append_number(bytes, value); }
void GgufMetadata::append(std::string& bytes, std::string_view text) {
  append_number(bytes, std::uint64_t{text.size()});
  bytes += text;
}

void GgufMetadata::key(std::string_view key, std::uint32_t type) {
  append(bytes_, key);
  append(bytes_, type);
  ++count_;
}

void GgufMetadata::text(std::string_view name, std::string_view value) {
  key(name, kString);
  append(bytes_, value);
}

void GgufMetadata::integer(std::string_view name, std::uint32_t value) {
  key(name, kUint32);
  append(bytes_, value);
}

void GgufMetadata::real(std::string_view name, float value) {
  key(name, kFloat32);
  append_number(bytes_, value);
}

void GgufMetadata::flag(std::string_view name, bool value) {
  key(name, kBool);
  append_number(bytes_, std::uint8_t{value});
}

void GgufMetadata::texts(std::string_view name, const std::vector<std::string>& values) {
  key(name, kArray);
  append(bytes_, std::uint32_t{kString});
  append(bytes_, std::uint64_t{values.size()});
  for (const std::string& value : values) append(bytes_, value);
}

void GgufMetadata::integers(std::string_view name, const std::vector<std::int32_t>& values) {
  key(name, kArray);
  append(bytes_, std::uint32_t{kInt32});
  append(bytes_, std::uint64_t{values.size()});
  for (const std::int32_t value : values) append_number(bytes_, value);
}

}  // namespace grpo::inline GRPO_ABI
