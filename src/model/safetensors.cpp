#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::string_view kMetadata = "__metadata__";

// Null for a name that is not supported.
const StoredType* type_named(std::string_view name) {
  static constexpr std::array kTypes{StoredType::F64, StoredType::F32, StoredType::F16, StoredType::BF16,
                                     StoredType::I64, StoredType::I32, StoredType::I16, StoredType::I8,
                                     StoredType::U8,  StoredType::Bool};
  for (const StoredType& type : kTypes) {
    if (name == info(type).name) return &type;
  }
  return nullptr;
}

// One entry of the header with its place in the buffer behind it.
struct Entry {
  StoredTensor tensor;
  std::uint64_t begin = 0, end = 0;
};

// The header's entries, checked one by one; `path` stands in messages.
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  Entry entry(const std::string& name, const Json& value) const {
    check(value.is_object() && value.size() == 3 && value.find("dtype") && value.find("shape") &&
              value.find("data_offsets"),
          name, "expected {dtype, shape, data_offsets}, got " + value.dump().substr(0, 100));
    Entry result;
    result.tensor.name = name;
    const Json& dtype = *value.find("dtype");
    const StoredType* type = dtype.is_string() ? type_named(dtype.as_string()) : nullptr;
    check(type != nullptr, name,
          "expected dtype F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL, got " + dtype.dump().substr(0, 100));
    result.tensor.type = *type;
    for (const std::uint64_t size : integers(name, *value.find("shape"), "shape")) {
      result.tensor.shape.push_back(static_cast<std::int64_t>(size));
    }
    const std::vector<std::uint64_t> offsets = integers(name, *value.find("data_offsets"), "data_offsets");
    check(offsets.size() == 2 && offsets[0] <= offsets[1], name, "expected data_offsets [begin, end]");
    result.begin = offsets[0];
    result.end = offsets[1];

    const std::int64_t count = checked_elements(result.tensor.shape);
    const auto width = static_cast<std::uint64_t>(info(*type).bytes);
    check(count >= 0, name, "shape " + shape_text(result.tensor.shape) + " is too large");
    check(static_cast<std::uint64_t>(count) <= (result.end - result.begin) / width &&
              static_cast<std::uint64_t>(count) * width == result.end - result.begin,
          name,
          fmt::format("{} {} does not fill its {} bytes", info(*type).name, shape_text(result.tensor.shape),
                      result.end - result.begin));
    return result;
  }

  void check(bool ok, const std::string& name, const std::string& message) const {
    GRPO_CHECK(ok, path_ + ": tensor \"" + name + "\": " + message);
  }

 private:
  std::vector<std::uint64_t> integers(const std::string& name, const Json& list, const char* what) const {
    check(list.is_list() && list.size() <= 16, name, std::string("expected a list of at most 16 integers as ") + what);
    std::vector<std::uint64_t> values;
    for (const Json& item : list.as_list()) {
      check(item.is_int() && item.as_int() >= 0, name, std::string("expected non-negative integers in ") + what);
      values.push_back(static_cast<std::uint64_t>(item.as_int()));
    }
    return values;
  }

  const std::string& path_;
};

void check_metadata(const std::string& path, const Json& metadata) {
  GRPO_CHECK(metadata.is_object(), path + ": expected an object as __metadata__");
  for (const auto& [key, value] : metadata.as_object()) {
    GRPO_CHECK(value.is_string(),
               path + ": __metadata__." + key + ": expected a string, got " + value.dump().substr(0, 100));
  }
}

// Tensors must tile the buffer: sorted by place, each begins where the one before ended.
void check_tiling(const std::string& path, const std::vector<Entry>& entries, std::uint64_t buffer_bytes) {
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    GRPO_CHECK(
        entry.begin == end,
        fmt::format("{}: tensor \"{}\" begins at byte {} of the data, expected {} (tensors may neither overlap nor "
                    "leave gaps)",
                    path, entry.tensor.name, entry.begin, end));
    end = entry.end;
  }
  GRPO_CHECK(end == buffer_bytes,
             fmt::format("{}: the header describes {} bytes of data, the file holds {} (truncated or damaged?)", path,
                         end, buffer_bytes));
}

std::string header_text(const InputFile& file) {
  GRPO_CHECK(file.size() >= 8, fmt::format("{}: expected a safetensors file, got {} bytes", file.path(), file.size()));
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  GRPO_CHECK(length <= kMaxHeaderBytes && length <= file.size() - 8,
             fmt::format("{}: header of {} bytes does not fit the file ({} bytes) or the format's limit ({}): not a "
                         "safetensors file, or truncated",
                         file.path(), length, file.size(), kMaxHeaderBytes));
  std::string text(length, '\0');
  file.read(8, std::as_writable_bytes(std::span(text)));
  GRPO_CHECK(!text.empty() && text.front() == '{', file.path() + ": expected the header to begin with '{'");
  return text;
}

}  // namespace

std::vector<StoredTensor> open_safetensors(const std::string& path, Json* metadata) {
  const auto file = std::make_shared<const InputFile>(path);
  const std::string text = header_text(*file);
  JsonParseOptions parse_options;
  parse_options.source = path;
  parse_options.max_depth = 8;
  const Json header = parse_json(text, parse_options);
  const std::uint64_t data = 8 + text.size();

  const HeaderReader reader(path);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.as_object()) {
    if (name != kMetadata) {
      entries.push_back(reader.entry(name, value));
      continue;
    }
    check_metadata(path, value);
    if (metadata) *metadata = value;
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_tiling(path, entries, file->size() - data);

  std::vector<StoredTensor> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) {
    entry.tensor.file = file;
    entry.tensor.offset = data + entry.begin;
    entry.tensor.size = entry.end - entry.begin;
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

namespace {

std::vector<StoredTensor> open_shards(const std::string& folder, const std::string& index_path) {
  JsonParseOptions parse_options;
  parse_options.source = index_path;
  const Json index = parse_json(read_file(index_path), parse_options);
  const Json& map = index.at("weight_map");
  GRPO_CHECK(map.is_object() && map.size() > 0, index_path + ": weight_map: expected an object of tensor names");
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, file] : map.as_object()) {
    // A name from an untrusted file must not lead out of the folder.
    const bool plain = file.is_string() && !file.as_string().empty() && file.as_string().front() != '.' &&
                       file.as_string().find_first_of("/\\") == std::string::npos;
    GRPO_CHECK(plain,
               index_path + ": weight_map." + name + ": expected a file name in this folder, got " + file.dump());
    shards[file.as_string()].insert(name);
  }
  std::vector<StoredTensor> tensors;
  std::set<std::string> seen;
  for (const auto& [shard, names] : shards) {
    const std::string path = folder + "/" + shard;
    std::set<std::string> absent = names;
    for (StoredTensor& tensor : open_safetensors(path)) {
      absent.erase(tensor.name);
      GRPO_CHECK(seen.insert(tensor.name).second, path + ": tensor \"" + tensor.name + "\" is in another shard too");
      tensors.push_back(std::move(tensor));
    }
    GRPO_CHECK(absent.empty(),
               path + ": tensor \"" + *absent.begin() + "\" is missing, though " + index_path + " places it there");
  }
  return tensors;
}

}  // namespace

std::vector<StoredTensor> open_weights_folder(const std::string& folder) {
  const std::string single = folder + "/model.safetensors";
  const std::string index = single + ".index.json";
  if (std::filesystem::exists(single)) return open_safetensors(single);
  if (std::filesystem::exists(index)) return open_shards(folder, index);
  throw Error(folder + ": expected model.safetensors or model.safetensors.index.json in the folder, found neither");
}

}  // namespace grpo::inline GRPO_ABI
