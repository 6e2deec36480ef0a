// Writes small GGUF files, right or wrong, for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::test {

class GgufBuilder {
 public:
  enum Type : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

  template <class T>
  static std::string raw(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static std::string text(std::string_view value) { return raw<std::uint64_t>(value.size()) + std::string(value); }
  static std::string strings(const std::vector<std::string>& values) {
    std::string out = raw<std::uint32_t>(kString) + raw<std::uint64_t>(values.size());
    for (const std::string& value : values) out += text(value);
    return out;
  }
  template <class T>
  static std::string numbers(Type type, const std::vector<T>& values) {
    std::string out = raw<std::uint32_t>(type) + raw<std::uint64_t>(values.size());
    for (const T value : values) out += raw(value);
    return out;
  }

  GgufBuilder& add(std::string_view key, Type type, const std::string& value) {
    metadata_ += text(key) + raw<std::uint32_t>(type) + value;
    ++num_values_;
    return *this;
  }
  GgufBuilder& add(std::string_view key, std::string_view value) { return add(key, kString, text(value)); }
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                      std::uint64_t offset) {
    tensors_ += text(name) + raw<std::uint32_t>(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) tensors_ += raw(dim);
    tensors_ += raw(type) + raw(offset);
    ++num_tensors_;
    return *this;
  }

  std::string bytes(std::size_t data_bytes = 0, std::size_t alignment = 32, std::uint32_t version = 3) const {
    std::string out = "GGUF" + raw(version) + raw(num_tensors_) + raw(num_values_) + metadata_ + tensors_;
    if (data_bytes > 0) out.resize((out.size() + alignment - 1) / alignment * alignment + data_bytes);
    return out;
  }

 private:
  std::string metadata_;
  std::string tensors_;
  std::uint64_t num_values_ = 0;
  std::uint64_t num_tensors_ = 0;
};

inline std::span<const std::byte> as_span(const std::string& bytes) { return std::as_bytes(std::span(bytes)); }

}  // namespace grpo::test
