// The head of a GGUF file: metadata and tensor infos. Tensor data is not touched.
//
// Reads versions 2 and 3 (little-endian). The file is untrusted: every count is checked against the bytes that are left
// before anything is allocated, and each failure is an Error that names the file and what was being read.
// A value; no thread-safety beyond const.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include <grpo/json.h>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {

struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> dims;  // as stored: the contiguous dimension first
  std::uint32_t type = 0;          // ggml's type number
  std::uint64_t offset = 0;        // bytes from GgufFile::data_offset
};

class GgufBytes;

class GgufFile {
 public:
  // Scalars, strings and nested arrays are Json; flat arrays are vectors (bools as 0 and 1).
  using Value = std::variant<Json, std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

  static GgufFile read(const InputFile& file);
  // The same of bytes in memory; `source` names the file in messages.
  static GgufFile parse(std::span<const std::byte> bytes, const std::string& source);

  const std::string& source() const { return source_; }
  std::uint32_t version() const { return version_; }
  std::uint64_t alignment() const { return alignment_; }
  std::uint64_t data_offset() const { return data_offset_; }  // of the first tensor's bytes, from the file's start
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;
  const std::vector<std::pair<std::string, Value>>& metadata() const { return metadata_; }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const Value* find(std::string_view key) const;
  // Throw Error naming file and key when the key is absent or of another type; double_at takes integers too.
  std::int64_t int_at(std::string_view key) const;
  double double_at(std::string_view key) const;
  bool bool_at(std::string_view key) const;
  const std::string& string_at(std::string_view key) const;
  const std::vector<std::int64_t>& ints_at(std::string_view key) const;
  const std::vector<double>& doubles_at(std::string_view key) const;
  const std::vector<std::string>& strings_at(std::string_view key) const;

 private:
  static GgufFile parse(GgufBytes& bytes, const std::string& source);
  template <class T>
  const T& value_at(std::string_view key, const char* expected) const;
  const Json& scalar_at(std::string_view key, const char* expected) const;

  std::string source_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  std::uint64_t data_offset_ = 0;
  std::vector<std::pair<std::string, Value>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string, std::size_t> keys_;
  std::unordered_map<std::string, std::size_t> names_;
};

}  // namespace grpo::inline GRPO_ABI
