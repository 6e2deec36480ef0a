// Writes small GGUF files for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::testing {

class GgufBuilder {
 public:
  void text(std::string_view key, std::string_view value) { add(key, 8, string(value)); }
  void integer(std::string_view key, std::uint32_t value) { add(key, 4, bytes_of(value)); }
  void real(std::string_view key, float value) { add(key, 6, bytes_of(value)); }
  // `dims`: the contiguous one first. Its data gets the next aligned place.
  void tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
              const std::string& data) {
    tensor_at(name, dims, type, data_.size());
    data_ += data;
    data_.resize((data_.size() + 31) / 32 * 32, '\0');
  }
  void tensor_at(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                 std::uint64_t offset) {
    infos_ += string(name) + bytes_of(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t size : dims) infos_ += bytes_of(size);
    infos_ += bytes_of(type) + bytes_of(offset);
    ++num_tensors_;
  }
  std::string file() const {
    std::string head =
        "GGUF" + bytes_of(std::uint32_t{3}) + bytes_of(num_tensors_) + bytes_of(num_values_) + values_ + infos_;
    head.resize((head.size() + 31) / 32 * 32, '\0');
    return head + data_;
  }
  template <class T>
  static std::string bytes_of(const T& value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }

 private:
  static std::string string(std::string_view text) { return bytes_of(std::uint64_t{text.size()}) + std::string(text); }
  void add(std::string_view key, std::uint32_t type, const std::string& value) {
    values_ += string(key) + bytes_of(type) + value;
    ++num_values_;
  }

  std::string values_, infos_, data_;
  std::uint64_t num_values_ = 0, num_tensors_ = 0;
};

}  // namespace grpo::testing
