// A tensor as a weight file holds it: element type, shape and its place in the file. safetensors and GGUF
// readers both give a list of these; decoding to fp32 happens one tensor at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {

enum class StoredType { F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool, Q8_0, Q4_0, Q4_1 };

// A type's elements come in blocks of `block` elements and `bytes` bytes.
struct StoredTypeInfo {
  const char* name;
  std::int64_t block;
  std::int64_t bytes;
};
StoredTypeInfo info(StoredType type);
bool is_floating(StoredType type);  // can be decoded to fp32

struct StoredTensor {
  std::string name;
  StoredType type = StoredType::F32;
  std::vector<std::int64_t> shape;  // row-major
  std::shared_ptr<const InputFile> file;
  std::uint64_t offset = 0, size = 0;  // bytes in the file: exactly the elements

  void read(void* to) const { file->read(offset, {static_cast<std::byte*>(to), size}); }
};

// Elements of `shape`, or -1 when a size is negative or the product passes 2^62.
std::int64_t checked_elements(std::span<const std::int64_t> shape);
std::string shape_text(std::span<const std::int64_t> shape);  // "[3, 4]"

// fp32 values of `tensor.shape`.
at::Tensor decode(const StoredTensor& tensor);
// The bytes of fp32 `values` as F32, F16, BF16 or Q8_0, whose rows must be whole blocks. Values that the type cannot
// hold are an Error that names the tensor.
std::string encode(const at::Tensor& values, StoredType type, const std::string& name);

}  // namespace grpo::inline GRPO_ABI
