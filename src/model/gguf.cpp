#include "model/gguf.h"

#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/files.h"
#include "text/gguf_metadata.h"

namespace grpo {
namespace {

struct Key {
  const char* ours;  // in config.json
  const char* gguf;  // behind "<architecture>."
};
constexpr Key kIntegers[] = {
    {"hidden_size", "embedding_length"},
    {"intermediate_size", "feed_forward_length"},
    {"num_hidden_layers", "block_count"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"max_position_embeddings", "context_length"},
    {"vocab_size", "vocab_size"},
};
constexpr Key kReals[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"rope_theta", "rope.freq_base"},
};
constexpr Key kTokens[] = {
    {"bos_token_id", "tokenizer.ggml.bos_token_id"},
    {"pad_token_id", "tokenizer.ggml.padding_token_id"},
};

// GGUF keeps reals as float32: the shortest decimal that means the same float (1e-05, not 9.999999747378752e-06).
double shortest_decimal(double value) {
  const std::string text = fmt::format("{}", static_cast<float>(value));
  double result = value;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

const Family& family_of(const GgufFile& file) {
  const std::string& architecture = file.string_at("general.architecture");
  std::string known;
  for (const Family& family : families()) {
    if (architecture == family.gguf_architecture) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.gguf_architecture);
  }
  throw Error(file.source() + ": general.architecture: expected one of " + known + ", got \"" + architecture + "\"");
}

void refuse(const GgufFile& file, const std::string& key, const std::string& expected) {
  throw Error(file.source() + ": " + key + ": expected " + expected + " (nothing else is supported)");
}

// Settings that would change the forward in ways no family has.
void check_supported(const GgufFile& file, const std::string& prefix) {
  const std::string scaling = prefix + "rope.scaling.type", experts = prefix + "expert_count";
  if (file.has(scaling) && file.string_at(scaling) != "none") refuse(file, scaling, "\"none\"");
  if (file.has(experts) && file.int_at(experts) != 0) refuse(file, experts, "0");
  for (const char* key : {"attention.sliding_window", "rope.scale_linear", "attention.clamp_kqv"}) {
    if (file.has(prefix + key)) refuse(file, prefix + key, "no such key");
  }
}

// The configuration in config.json's words, so that one parser judges both.
Json config_json_of(const GgufFile& file, const Family& family) {
  const std::string prefix = std::string(family.gguf_architecture) + ".";
  check_supported(file, prefix);
  Json config;
  config["model_type"] = family.model_type;
  for (const auto& [ours, key] : kIntegers) {
    if (file.has(prefix + key)) config[ours] = file.int_at(prefix + key);
  }
  for (const auto& [ours, key] : kReals) {
    if (file.has(prefix + key)) config[ours] = shortest_decimal(file.double_at(prefix + key));
  }
  for (const auto& [ours, key] : kTokens) {
    if (file.has(key)) config[ours] = file.int_at(key);
  }
  Json::List stops;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (file.has(key) && (stops.empty() || !(stops[0] == Json(file.int_at(key))))) stops.push_back(file.int_at(key));
  }
  config["eos_token_id"] = std::move(stops);
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (!config.find("vocab_size") && embedding) config["vocab_size"] = embedding->dims.back();
  config["tie_word_embeddings"] = file.find_tensor("output.weight") == nullptr;
  return config;
}

ModelConfig config_of(const GgufFile& file) {
  const Family& family = family_of(file);
  const Json json = config_json_of(file, family);
  try {
    const ModelConfig config = parse_model_config(json);
    for (const char* key : {"rope.dimension_count", "attention.value_length"}) {
      const std::string name = std::string(family.gguf_architecture) + "." + key;
      GRPO_CHECK(!file.has(name) || file.int_at(name) == config.head_dim,
                 fmt::format("{}: expected the head size {}, got {}", name, config.head_dim, file.int_at(name)));
    }
    return config;
  } catch (const Error& error) {
    throw Error(file.source() + ": " + error.what(), error.kind());
  }
}

// Numbers of the file format.
std::optional<StoredType> type_numbered(std::uint32_t type) {
  switch (type) {
    case 0:
      return StoredType::F32;
    case 1:
      return StoredType::F16;
    case 2:
      return StoredType::Q4_0;
    case 3:
      return StoredType::Q4_1;
    case 8:
      return StoredType::Q8_0;
    case 28:
      return StoredType::F64;
    case 30:
      return StoredType::BF16;
    default:
      return std::nullopt;
  }
}

std::string name_of_type(std::uint32_t type) {
  switch (type) {
    case 6:
      return "Q5_0";
    case 7:
      return "Q5_1";
    case 9:
      return "Q8_1";
    case 10:
      return "Q2_K";
    case 11:
      return "Q3_K";
    case 12:
      return "Q4_K";
    case 13:
      return "Q5_K";
    case 14:
      return "Q6_K";
    case 15:
      return "Q8_K";
    default:
      return fmt::format("type {}", type);
  }
}

StoredTensor stored(const GgufFile& file, const GgufTensor& tensor, std::span<const std::byte> data) {
  const std::string where = file.source() + ": tensor \"" + tensor.name + "\": ";
  const std::optional<StoredType> type = type_numbered(tensor.type);
  GRPO_CHECK(type.has_value(),
             where + "expected type F64, F32, F16, BF16, Q8_0, Q4_0 or Q4_1, got " + name_of_type(tensor.type));
  const StoredTypeInfo layout = info(*type);
  StoredTensor result;
  result.name = tensor.name;
  result.type = *type;
  result.shape.assign(tensor.dims.rbegin(), tensor.dims.rend());
  const std::int64_t count = checked_elements(result.shape);
  GRPO_CHECK(count > 0 && count < (std::int64_t{1} << 48), where + "impossible shape " + shape_text(result.shape));
  GRPO_CHECK(result.shape.back() % layout.block == 0,
             where + fmt::format("expected rows of a multiple of {} elements in {}, got {}", layout.block, layout.name,
                                 shape_text(result.shape)));
  const auto bytes = static_cast<std::uint64_t>(count / layout.block * layout.bytes);
  GRPO_CHECK(tensor.offset <= data.size() && bytes <= data.size() - tensor.offset,
             where + fmt::format("expected {} bytes at offset {} of the data, which has {} (truncated file?)", bytes,
                                 tensor.offset, data.size()));
  result.bytes = data.subspan(tensor.offset, bytes);
  return result;
}

}  // namespace

ModelConfig gguf_config(const std::string& path) {
  const MappedFile mapping(path);
  return config_of(GgufFile::parse(mapping.bytes(), path));
}

GgufModel map_gguf(const std::string& path) {
  const auto mapping = std::make_shared<const MappedFile>(path);
  const GgufFile file = GgufFile::parse(mapping->bytes(), path);
  GgufModel model;
  model.config = config_of(file);
  GRPO_CHECK(file.data_offset() <= mapping->size(),
             path + ": expected tensor data behind the header (truncated file?)");
  const std::span<const std::byte> data = mapping->bytes().subspan(file.data_offset());
  for (const GgufTensor& tensor : file.tensors()) {
    model.tensors.push_back(stored(file, tensor, data));
    model.tensors.back().owner = mapping;
  }
  return model;
}

at::Tensor unpair_rows(const at::Tensor& values, std::int64_t heads) {
  const std::int64_t rows = values.size(0), columns = values.size(1), half = rows / heads / 2;
  return values.view({heads, half, 2, columns}).transpose(1, 2).reshape({rows, columns});
}

}  // namespace grpo
