// safetensors as LibTorch tensors: the public reader and the writer.
#include <cstring>
#include <set>
#include <utility>

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <grpo/model.h>

#include "model/safetensors.h"

namespace grpo::inline GRPO_ABI {
namespace {

at::ScalarType scalar_type(StoredType type) {
  switch (type) {
    case StoredType::F64:
      return at::kDouble;
    case StoredType::F32:
      return at::kFloat;
    case StoredType::F16:
      return at::kHalf;
    case StoredType::BF16:
      return at::kBFloat16;
    case StoredType::I64:
      return at::kLong;
    case StoredType::I32:
      return at::kInt;
    case StoredType::I16:
      return at::kShort;
    case StoredType::I8:
      return at::kChar;
    case StoredType::U8:
      return at::kByte;
    case StoredType::Bool:
      return at::kBool;
    case StoredType::Q8_0:
    case StoredType::Q4_0:
    case StoredType::Q4_1:
      break;
  }
  throw Error(std::string("no tensor type for ") + info(type).name, ErrorKind::Internal);
}

StoredType stored_type(const std::string& name, at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return StoredType::F64;
    case at::kFloat:
      return StoredType::F32;
    case at::kHalf:
      return StoredType::F16;
    case at::kBFloat16:
      return StoredType::BF16;
    case at::kLong:
      return StoredType::I64;
    case at::kInt:
      return StoredType::I32;
    case at::kShort:
      return StoredType::I16;
    case at::kChar:
      return StoredType::I8;
    case at::kByte:
      return StoredType::U8;
    case at::kBool:
      return StoredType::Bool;
    default:
      throw Error("save_safetensors: tensor \"" + name + "\" has type " + c10::toString(type) +
                  ", which is not supported");
  }
}

// A byte other than 0 and 1 in a bool tensor is undefined behaviour in C++.
void check_bools(const std::string& path, const std::string& name, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {
    GRPO_CHECK(byte <= std::byte{1}, path + ": tensor \"" + name + "\": expected 0 or 1 in a BOOL tensor");
  }
}

std::string header_bytes(const std::string& path, const std::vector<SafetensorsWriter::Entry>& entries,
                         const Json& metadata) {
  Json meta = metadata;
  GRPO_CHECK(meta.is_null() || meta.is_object(), path + ": expected an object of strings as metadata");
  if (!meta.find("format")) meta["format"] = "pt";
  for (const auto& [key, value] : meta.as_object()) {
    GRPO_CHECK(value.is_string(), path + ": metadata." + key + ": expected a string, got " + value.dump());
  }
  Json::Object header{{"__metadata__", std::move(meta)}};
  std::set<std::string> names{"__metadata__"};
  std::int64_t offset = 0;
  for (const auto& [name, type, shape] : entries) {
    GRPO_CHECK(names.insert(name).second, path + ": tensor name \"" + name + "\" is taken twice or reserved");
    const StoredTypeInfo stored = info(stored_type(name, type));
    const std::int64_t end = offset + checked_elements(shape) * stored.bytes;
    Json entry =
        Json::Object{{"dtype", stored.name}, {"shape", Json(shape)}, {"data_offsets", Json::List{offset, end}}};
    if (shape.empty()) entry["shape"] = Json::List{};
    header.emplace_back(name, std::move(entry));
    offset = end;
  }
  std::string text = Json(std::move(header)).dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<Entry> entries, const Json& metadata)
    : entries_(std::move(entries)), file_(path) {
  file_.write(header_bytes(path, entries_, metadata));
}

void SafetensorsWriter::write(const at::Tensor& tensor) {
  GRPO_ASSERT(next_ < entries_.size());
  const Entry& entry = entries_[next_++];
  GRPO_ASSERT(tensor.scalar_type() == entry.type && tensor.sizes() == at::IntArrayRef(entry.shape));
  const at::Tensor plain = tensor.detach().cpu().contiguous();
  if (plain.numel() == 0) return;
  file_.write(std::span(static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()));
}

void SafetensorsWriter::commit() {
  GRPO_ASSERT(next_ == entries_.size());
  file_.commit();
}

void save_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors, const Json& metadata) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    GRPO_CHECK(tensor.defined(), "save_safetensors: tensor \"" + name + "\" is undefined");
    entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, std::move(entries), metadata);
  for (const NamedTensor& item : tensors) writer.write(item.tensor);
  writer.commit();
}

std::vector<NamedTensor> load_safetensors(const std::string& path, Json* metadata) {
  std::vector<NamedTensor> result;
  for (const StoredTensor& tensor : open_safetensors(path, metadata)) {
    at::Tensor values = at::empty(tensor.shape, scalar_type(tensor.type));
    tensor.read(values.data_ptr());
    if (tensor.type == StoredType::Bool) {
      check_bools(path, tensor.name, {static_cast<const std::byte*>(values.data_ptr()), values.nbytes()});
    }
    result.push_back({tensor.name, std::move(values)});
  }
  return result;
}

}  // namespace grpo::inline GRPO_ABI
