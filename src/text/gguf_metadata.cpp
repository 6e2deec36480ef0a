#include "text/gguf_metadata.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

namespace grpo::inline GRPO_ABI {

// Bytes from front to back, out of a file or memory. A head has a hundred thousand short strings, so there is a window.
class GgufBytes {
 public:
  using Fetch = std::function<void(std::uint64_t offset, std::span<std::byte> to)>;
  GgufBytes(std::uint64_t size, Fetch fetch) : size_(size), fetch_(std::move(fetch)) {}

  std::uint64_t size() const { return size_; }
  std::uint64_t position() const { return position_; }
  void take(std::span<std::byte> to) {  // not more than is left
    while (!to.empty()) {
      if (next_ == window_.size()) fill();
      const std::size_t count = std::min(to.size(), window_.size() - next_);
      std::memcpy(to.data(), window_.data() + next_, count);
      next_ += count;
      position_ += count;
      to = to.subspan(count);
    }
  }

 private:
  void fill() {
    constexpr std::uint64_t kWindow = 1 << 16;
    window_.resize(static_cast<std::size_t>(std::min(kWindow, size_ - position_)));
    fetch_(position_, window_);
    next_ = 0;
  }

  std::uint64_t size_, position_ = 0;
  Fetch fetch_;
  std::vector<std::byte> window_;
  std::size_t next_ = 0;
};

namespace {

enum ValueType : std::uint32_t {  // numbers of the file format
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

constexpr int kMaxArrayDepth = 8;
constexpr std::uint64_t kMaxNested = 1'000'000;  // elements of all nested arrays: they cost 64 bytes each as Json
constexpr std::uint32_t kMaxDims = 4;
constexpr std::size_t kMaxNameBytes = 65535;
constexpr std::uint64_t kMaxAlignment = 1 << 20;
constexpr std::uint64_t kLeastKeyValueBytes = 8 + 4 + 1;
constexpr std::uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;

std::size_t type_bytes(std::uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    case kString:
      return 8;  // its length
    case kArray:
      return 4 + 8;  // its type and count
    default:
      return 0;
  }
}

// Takes values off the front of the bytes; `reading` says in messages what is being read.
class Reader {
 public:
  Reader(GgufBytes& bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  std::uint64_t position() const { return bytes_.position(); }
  std::uint64_t left() const { return bytes_.size() - position(); }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(source_ + ": " + reading + " at byte " + std::to_string(position()) + ": " + message);
  }
  void need(std::uint64_t count) const {
    if (count > left()) {
      fail("expected " + std::to_string(count) + " more bytes, got " + std::to_string(left()) + " (truncated file?)");
    }
  }
  // `count` things of at least `least_bytes` each must fit into what is left.
  void need_items(std::uint64_t count, std::uint64_t least_bytes) const {
    if (count > left() / least_bytes) {
      fail("a count of " + std::to_string(count) + " does not fit into the " + std::to_string(left()) + " bytes left");
    }
  }
  template <class T>
  T take() {
    need(sizeof(T));
    T value;
    bytes_.take(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  std::string string() {
    const auto length = take<std::uint64_t>();
    need(length);
    std::string text(static_cast<std::size_t>(length), '\0');
    bytes_.take(std::as_writable_bytes(std::span(text)));
    return text;
  }
  std::string name() {
    std::string text = string();
    if (text.size() > kMaxNameBytes) fail("a name of " + std::to_string(text.size()) + " bytes is too long");
    return text;
  }
  std::int64_t integer(std::uint32_t type) {
    switch (type) {
      case kUint8:
        return take<std::uint8_t>();
      case kInt8:
        return take<std::int8_t>();
      case kUint16:
        return take<std::uint16_t>();
      case kInt16:
        return take<std::int16_t>();
      case kUint32:
        return take<std::uint32_t>();
      case kInt32:
        return take<std::int32_t>();
      case kInt64:
        return take<std::int64_t>();
      case kUint64: {
        const auto value = take<std::uint64_t>();
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
          fail("expected an integer below 2^63, got " + std::to_string(value));
        }
        return static_cast<std::int64_t>(value);
      }
      case kBool: {
        const auto value = take<std::uint8_t>();
        if (value > 1) fail("expected a bool of 0 or 1, got " + std::to_string(value));
        return value;
      }
      default:
        fail("unknown value type " + std::to_string(type));
    }
  }
  double real(std::uint32_t type) { return type == kFloat32 ? take<float>() : take<double>(); }

  std::string reading = "magic";

 private:
  GgufBytes& bytes_;
  const std::string& source_;
};

bool is_real(std::uint32_t type) { return type == kFloat32 || type == kFloat64; }

// Values of one file; `nested` counts the elements of nested arrays over the whole file.
struct ValueReader {
  Reader& in;
  std::uint64_t nested = 0;

  Json scalar(std::uint32_t type) {
    if (type == kString) return Json(in.string());
    if (is_real(type)) return Json(in.real(type));
    const std::int64_t value = in.integer(type);
    return type == kBool ? Json(value != 0) : Json(value);
  }
  Json nested_array(int depth) {
    if (depth > kMaxArrayDepth) in.fail("arrays nested deeper than " + std::to_string(kMaxArrayDepth));
    const auto type = in.take<std::uint32_t>();
    const std::uint64_t count = array_count(type);
    nested += count;
    if (nested > kMaxNested) in.fail("more than " + std::to_string(kMaxNested) + " elements in nested arrays");
    Json::List list;
    for (std::uint64_t i = 0; i < count; ++i) list.push_back(type == kArray ? nested_array(depth + 1) : scalar(type));
    return Json(std::move(list));
  }
  std::uint64_t array_count(std::uint32_t type) {
    const auto count = in.take<std::uint64_t>();
    const std::size_t least = type_bytes(type);
    if (least == 0) in.fail("unknown value type " + std::to_string(type));
    in.need_items(count, least);
    return count;
  }
  GgufFile::Value array() {
    const auto type = in.take<std::uint32_t>();
    const std::uint64_t count = array_count(type);
    auto read = [&](auto element) {
      std::vector<decltype(element())> values;
      values.reserve(static_cast<std::size_t>(count));
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(element());
      return values;
    };
    if (type == kString) return read([&] { return in.string(); });
    if (type == kArray) {
      nested += count;
      if (nested > kMaxNested) in.fail("more than " + std::to_string(kMaxNested) + " elements in nested arrays");
      Json::List list;
      for (std::uint64_t i = 0; i < count; ++i) list.push_back(nested_array(2));
      return Json(std::move(list));
    }
    if (is_real(type)) return read([&] { return in.real(type); });
    return read([&] { return in.integer(type); });
  }
  GgufFile::Value value() {
    const auto type = in.take<std::uint32_t>();
    if (type == kArray) return array();
    return scalar(type);
  }
};

GgufTensor read_tensor(Reader& in, std::uint64_t alignment) {
  GgufTensor tensor;
  tensor.name = in.name();
  in.reading = "tensor \"" + tensor.name + "\"";
  const auto num_dims = in.take<std::uint32_t>();
  if (num_dims == 0 || num_dims > kMaxDims) {
    in.fail("expected 1 to " + std::to_string(kMaxDims) + " dimensions, got " + std::to_string(num_dims));
  }
  std::uint64_t elements = 1;
  for (std::uint32_t i = 0; i < num_dims; ++i) {
    const auto size = in.take<std::uint64_t>();
    constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 48;
    if (size == 0 || size > kMaxElements / elements) in.fail("impossible dimension " + std::to_string(size));
    elements *= size;
    tensor.dims.push_back(static_cast<std::int64_t>(size));
  }
  tensor.type = in.take<std::uint32_t>();
  tensor.offset = in.take<std::uint64_t>();
  if (tensor.offset % alignment != 0) {
    in.fail("offset " + std::to_string(tensor.offset) + " is no multiple of the alignment " +
            std::to_string(alignment));
  }
  return tensor;
}

void read_magic(Reader& in) {
  char magic[4];
  for (char& c : magic) c = in.take<char>();
  if (std::string_view(magic, 4) != "GGUF") in.fail("expected a GGUF file (its first four bytes are \"GGUF\")");
  in.reading = "version";
}

}  // namespace

GgufFile GgufFile::read(const InputFile& file) {
  GgufBytes bytes(file.size(), [&file](std::uint64_t offset, std::span<std::byte> to) { file.read(offset, to); });
  return parse(bytes, file.path());
}

GgufFile GgufFile::parse(std::span<const std::byte> all, const std::string& source) {
  GgufBytes bytes(all.size(), [all](std::uint64_t offset, std::span<std::byte> to) {
    std::memcpy(to.data(), all.data() + offset, to.size());
  });
  return parse(bytes, source);
}

GgufFile GgufFile::parse(GgufBytes& bytes, const std::string& source) {
  GgufFile file;
  file.source_ = source;
  Reader in(bytes, file.source_);
  read_magic(in);
  file.version_ = in.take<std::uint32_t>();
  if (file.version_ != 2 && file.version_ != 3) {
    const bool swapped = file.version_ > 0xFFFF;
    in.fail("expected version 2 or 3, got " + std::to_string(file.version_) + (swapped ? " (a big-endian file?)" : ""));
  }
  in.reading = "counts";
  const auto num_tensors = in.take<std::uint64_t>();
  const auto num_values = in.take<std::uint64_t>();
  in.need_items(num_values, kLeastKeyValueBytes);
  ValueReader values{in};
  for (std::uint64_t i = 0; i < num_values; ++i) {
    in.reading = "metadata key " + std::to_string(i);
    std::string key = in.name();
    in.reading = "metadata \"" + key + "\"";
    if (!file.keys_.emplace(key, file.metadata_.size()).second) in.fail("duplicate key");
    Value value = values.value();
    file.metadata_.emplace_back(std::move(key), std::move(value));
  }
  if (file.has("general.alignment")) {
    const std::int64_t alignment = file.int_at("general.alignment");
    in.reading = "metadata \"general.alignment\"";
    const auto wanted = static_cast<std::uint64_t>(alignment);
    if (alignment <= 0 || wanted > kMaxAlignment || (wanted & (wanted - 1)) != 0) {
      in.fail("expected a power of two up to 2^20, got " + std::to_string(alignment));
    }
    file.alignment_ = wanted;
  }
  in.reading = "tensor count";
  in.need_items(num_tensors, kLeastTensorBytes);
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    in.reading = "name of tensor " + std::to_string(i);
    GgufTensor tensor = read_tensor(in, file.alignment_);
    if (!file.names_.emplace(tensor.name, file.tensors_.size()).second) in.fail("duplicate tensor");
    file.tensors_.push_back(std::move(tensor));
  }
  file.data_offset_ = (in.position() + file.alignment_ - 1) / file.alignment_ * file.alignment_;
  for (const GgufTensor& tensor : file.tensors_) {
    in.reading = "tensor \"" + tensor.name + "\"";
    if (file.data_offset_ > bytes.size() || tensor.offset >= bytes.size() - file.data_offset_) {
      in.fail("its data starts behind the end of the file, at offset " + std::to_string(tensor.offset));
    }
  }
  return file;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = names_.find(std::string(name));
  return it == names_.end() ? nullptr : &tensors_[it->second];
}

const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto it = keys_.find(std::string(key));
  return it == keys_.end() ? nullptr : &metadata_[it->second].second;
}

template <class T>
const T& GgufFile::value_at(std::string_view key, const char* expected) const {
  const Value* value = find(key);
  GRPO_CHECK(value != nullptr, source_ + ": metadata has no key \"" + std::string(key) + "\"");
  const T* typed = std::get_if<T>(value);
  GRPO_CHECK(typed != nullptr,
             source_ + ": metadata \"" + std::string(key) + "\": expected " + expected + ", got another type");
  return *typed;
}

const Json& GgufFile::scalar_at(std::string_view key, const char* expected) const {
  return value_at<Json>(key, expected);
}

namespace {

void check_kind(bool good, const std::string& source, std::string_view key, const char* expected, const Json& got) {
  GRPO_CHECK(good, source + ": metadata \"" + std::string(key) + "\": expected " + expected + ", got " +
                       got.dump().substr(0, 80));
}

}  // namespace

std::int64_t GgufFile::int_at(std::string_view key) const {
  const Json& value = scalar_at(key, "an integer");
  check_kind(value.is_int(), source_, key, "an integer", value);
  return value.as_int();
}

double GgufFile::double_at(std::string_view key) const {
  const Json& value = scalar_at(key, "a number");
  check_kind(value.is_number(), source_, key, "a number", value);
  return value.as_double();
}

bool GgufFile::bool_at(std::string_view key) const {
  const Json& value = scalar_at(key, "a bool");
  check_kind(value.is_bool(), source_, key, "a bool", value);
  return value.as_bool();
}

const std::string& GgufFile::string_at(std::string_view key) const {
  const Json& value = scalar_at(key, "a string");
  check_kind(value.is_string(), source_, key, "a string", value);
  return value.as_string();
}

const std::vector<std::int64_t>& GgufFile::ints_at(std::string_view key) const {
  return value_at<std::vector<std::int64_t>>(key, "an array of integers");
}

const std::vector<double>& GgufFile::doubles_at(std::string_view key) const {
  return value_at<std::vector<double>>(key, "an array of floats");
}

const std::vector<std::string>& GgufFile::strings_at(std::string_view key) const {
  return value_at<std::vector<std::string>>(key, "an array of strings");
}

}  // namespace grpo::inline GRPO_ABI
