// safetensors files: a validated directory of tensors, and a writer that streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <grpo/json.h>

#include "base/files.h"
#include "model/stored_tensor.h"

namespace grpo::inline GRPO_ABI {

// Tensors in the order of their data. Every rule of the format is checked: header length, JSON, names, types, sizes,
// offsets without gaps or overlaps.
std::vector<StoredTensor> open_safetensors(const std::string& path, Json* metadata = nullptr);

// The weights of a Hugging Face folder: model.safetensors, or the shards of model.safetensors.index.json.
std::vector<StoredTensor> open_weights_folder(const std::string& folder);

// Writes a file whose names, types and shapes are given first and whose tensors follow one by one.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    at::ScalarType type;
    std::vector<std::int64_t> shape;
  };
  // `metadata`: object of strings, or null; {"format": "pt"} is added, which some readers insist on.
  SafetensorsWriter(const std::string& path, std::vector<Entry> entries, const Json& metadata);
  void write(const at::Tensor& tensor);  // the next entry's
  void commit();                         // after the last

 private:
  std::vector<Entry> entries_;
  std::size_t next_ = 0;
  AtomicFile file_;
};

}  // namespace grpo::inline GRPO_ABI
