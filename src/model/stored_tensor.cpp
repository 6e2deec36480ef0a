#include "model/stored_tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>

#include <c10/util/Half.h>

#include <grpo/error.h>

#include "ops/pool.h"

namespace grpo::inline GRPO_ABI {
namespace {

static_assert(std::endian::native == std::endian::little, "weight files are little-endian and are read as they are");

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float half_to_float(std::uint16_t bits) { return c10::detail::fp16_ieee_to_fp32_value(bits); }
float bf16_to_float(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

template <class T, class F>
void decode_elements(const std::byte* from, std::int64_t count, float* to, const F& convert) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = convert(load<T>(from + i * static_cast<std::int64_t>(sizeof(T))));
}

// f16 d, 32 i8: q d.
void decode_q8_0(const std::byte* from, std::int64_t blocks, float* to) {
  for (std::int64_t b = 0; b < blocks; ++b, from += 34, to += 32) {
    const float scale = half_to_float(load<std::uint16_t>(from));
    for (int i = 0; i < 32; ++i) to[i] = static_cast<float>(load<std::int8_t>(from + 2 + i)) * scale;
  }
}

// 16 bytes of two 4-bit values each: low halves are elements 0 to 15, high halves 16 to 31.
template <class F>
void decode_nibbles(const std::byte* from, float* to, const F& value) {
  for (int i = 0; i < 16; ++i) {
    const int byte = std::to_integer<int>(from[i]);
    to[i] = value(byte & 15);
    to[i + 16] = value(byte >> 4);
  }
}

// f16 d, nibbles: (q - 8) d.
void decode_q4_0(const std::byte* from, std::int64_t blocks, float* to) {
  for (std::int64_t b = 0; b < blocks; ++b, from += 18, to += 32) {
    const float scale = half_to_float(load<std::uint16_t>(from));
    decode_nibbles(from + 2, to, [scale](int q) { return static_cast<float>(q - 8) * scale; });
  }
}

// f16 d, f16 m, nibbles: q d + m.
void decode_q4_1(const std::byte* from, std::int64_t blocks, float* to) {
  for (std::int64_t b = 0; b < blocks; ++b, from += 20, to += 32) {
    const float scale = half_to_float(load<std::uint16_t>(from));
    const float least = half_to_float(load<std::uint16_t>(from + 2));
    decode_nibbles(from + 4, to, [=](int q) { return static_cast<float>(q) * scale + least; });
  }
}

void decode_to(const StoredTensor& tensor, std::int64_t count, float* to) {
  if (tensor.type == StoredType::F32) return tensor.read(to);
  const auto bytes = std::make_unique_for_overwrite<std::byte[]>(tensor.size);
  tensor.read(bytes.get());
  const std::byte* from = bytes.get();
  switch (tensor.type) {
    case StoredType::F64:
      return decode_elements<double>(from, count, to, [](double x) { return static_cast<float>(x); });
    case StoredType::F16:
      return decode_elements<std::uint16_t>(from, count, to, half_to_float);
    case StoredType::BF16:
      return decode_elements<std::uint16_t>(from, count, to, bf16_to_float);
    case StoredType::Q8_0:
      return decode_q8_0(from, count / 32, to);
    case StoredType::Q4_0:
      return decode_q4_0(from, count / 32, to);
    case StoredType::Q4_1:
      return decode_q4_1(from, count / 32, to);
    case StoredType::F32:
    case StoredType::I64:
    case StoredType::I32:
    case StoredType::I16:
    case StoredType::I8:
    case StoredType::U8:
    case StoredType::Bool:
      break;
  }
  throw Error("tensor " + tensor.name + ": expected floating-point elements, got " + info(tensor.type).name);
}

// ggml's rounding: d = max |x| / 127 in fp32, then q = x / d to nearest, halves away from zero, and d as f16.
void encode_q8_0(const float* from, std::int64_t blocks, char* to) {
  for (std::int64_t b = 0; b < blocks; ++b, from += 32, to += 34) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(from[i]));
    const float scale = largest / 127;
    const float inverse = scale == 0 ? 0 : 1 / scale;
    const std::uint16_t bits = c10::detail::fp16_ieee_from_fp32_value(scale);
    std::memcpy(to, &bits, sizeof bits);
    for (int i = 0; i < 32; ++i) to[2 + i] = static_cast<char>(std::lround(from[i] * inverse));
  }
}

}  // namespace

StoredTypeInfo info(StoredType type) {
  switch (type) {
    case StoredType::F64:
      return {"F64", 1, 8};
    case StoredType::F32:
      return {"F32", 1, 4};
    case StoredType::F16:
      return {"F16", 1, 2};
    case StoredType::BF16:
      return {"BF16", 1, 2};
    case StoredType::I64:
      return {"I64", 1, 8};
    case StoredType::I32:
      return {"I32", 1, 4};
    case StoredType::I16:
      return {"I16", 1, 2};
    case StoredType::I8:
      return {"I8", 1, 1};
    case StoredType::U8:
      return {"U8", 1, 1};
    case StoredType::Bool:
      return {"BOOL", 1, 1};
    case StoredType::Q8_0:
      return {"Q8_0", 32, 34};
    case StoredType::Q4_0:
      return {"Q4_0", 32, 18};
    case StoredType::Q4_1:
      return {"Q4_1", 32, 20};
  }
  throw Error("unknown stored type", ErrorKind::Internal);
}

bool is_floating(StoredType type) {
  switch (type) {
    case StoredType::F64:
    case StoredType::F32:
    case StoredType::F16:
    case StoredType::BF16:
    case StoredType::Q8_0:
    case StoredType::Q4_0:
    case StoredType::Q4_1:
      return true;
    case StoredType::I64:
    case StoredType::I32:
    case StoredType::I16:
    case StoredType::I8:
    case StoredType::U8:
    case StoredType::Bool:
      return false;
  }
  return false;
}

std::int64_t checked_elements(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return -1;
    empty |= size == 0;
    const std::int64_t factor = size == 0 ? 1 : size;  // strides of an empty tensor are products too
    if (count > (std::int64_t{1} << 62) / factor) return -1;
    count *= factor;
  }
  return empty ? 0 : count;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

at::Tensor decode(const StoredTensor& tensor) {
  at::Tensor values = ops::pooled(tensor.shape, at::kFloat);
  decode_to(tensor, values.numel(), values.data_ptr<float>());
  return values;
}

std::string encode(const at::Tensor& values, StoredType type, const std::string& name) {
  const at::Tensor plain = values.contiguous();
  GRPO_ASSERT(plain.scalar_type() == at::kFloat);
  constexpr double kMaxHalf = 65504;
  // A block's scale and an element alike are halves; a NaN or infinity fails every comparison with a bound.
  const double bound = type == StoredType::F16 ? kMaxHalf : type == StoredType::Q8_0 ? 127 * kMaxHalf : 3.4e38;
  const double largest = plain.numel() == 0 ? 0 : plain.abs().max().item<double>();
  GRPO_CHECK(largest <= bound, "tensor " + name + ": its values do not fit " + info(type).name + " (largest " +
                                   std::to_string(largest) + ")");
  if (type == StoredType::Q8_0) {
    const std::int64_t blocks = plain.numel() / 32;
    std::string bytes(static_cast<std::size_t>(blocks * 34), '\0');
    encode_q8_0(plain.const_data_ptr<float>(), blocks, bytes.data());
    return bytes;
  }
  GRPO_ASSERT(type == StoredType::F32 || type == StoredType::F16 || type == StoredType::BF16);
  const at::Tensor stored =
      type == StoredType::F32 ? plain : plain.to(type == StoredType::F16 ? at::kHalf : at::kBFloat16);
  return {static_cast<const char*>(stored.const_data_ptr()), stored.nbytes()};
}

}  // namespace grpo::inline GRPO_ABI
