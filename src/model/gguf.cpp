#include "model/gguf.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/files.h"
#include "model/gguf_keys.h"
#include "model/gguf_rope.h"
#include "text/gguf_metadata.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr GgufKey kTokens[] = {
    {"bos_token_id", "tokenizer.ggml.bos_token_id"},
    {"pad_token_id", "tokenizer.ggml.padding_token_id"},
};

const Family& family_of(const GgufFile& file) {
  const std::string& architecture = file.string_at("general.architecture");
  std::string known;
  for (const Family& family : families()) {
    if (architecture == family.gguf_architecture) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.gguf_architecture);
  }
  throw Error(file.source() + ": general.architecture: expected one of " + known + ", got \"" + architecture + "\"");
}

// Settings that would change the forward in ways no family has.
void check_supported(const GgufFile& file, const std::string& prefix) {
  const std::string experts = prefix + "expert_count";
  if (file.has(experts) && file.int_at(experts) != 0) refuse_gguf_key(file, experts, "0");
  for (const char* key : {"attention.sliding_window", "attention.clamp_kqv"}) {
    if (file.has(prefix + key)) refuse_gguf_key(file, prefix + key, "no such key");
  }
}

// The configuration in config.json's words, so that one parser judges both. What metadata leaves out is llama.cpp's
// default, the same for every architecture.
Json config_json_of(const GgufFile& file, const Family& family) {
  const std::string prefix = std::string(family.gguf_architecture) + ".";
  check_supported(file, prefix);
  Json config;
  config["model_type"] = family.model_type;
  config["num_key_value_heads"] = nullptr;
  for (const auto& [ours, key] : kGgufIntegers) {
    if (file.has(prefix + key)) config[ours] = file.int_at(prefix + key);
  }
  const Json *width = config.find("hidden_size"), *heads = config.find("num_attention_heads");
  if (!config.find("head_dim") && width && heads && heads->as_int() > 0) {
    config["head_dim"] = width->as_int() / heads->as_int();
  }
  for (const auto& [ours, key] : kGgufReals) {
    if (file.has(prefix + key)) config[ours] = shortest_decimal(file.double_at(prefix + key));
  }
  config["rope_scaling"] = read_gguf_rope(file, prefix);
  for (const auto& [ours, key] : kTokens) {
    if (file.has(key)) config[ours] = file.int_at(key);
  }
  Json stops = Json::List{};
  for (const char* key : kGgufStopKeys) {
    if (!file.has(key)) continue;
    const Json id = file.int_at(key);
    if (std::count(stops.as_list().begin(), stops.as_list().end(), id) == 0) stops.push_back(id);
  }
  config["eos_token_id"] = std::move(stops);
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (!config.find("vocab_size") && embedding) config["vocab_size"] = embedding->dims.back();
  config["tie_word_embeddings"] = file.find_tensor("output.weight") == nullptr;
  config["attention_bias"] = file.find_tensor("blk.0.attn_output.bias") != nullptr;
  config["mlp_bias"] = file.find_tensor("blk.0.ffn_down.bias") != nullptr;
  return config;
}

ModelConfig config_of(const GgufFile& file) {
  const Family& family = family_of(file);
  const Json json = config_json_of(file, family);
  try {
    const ModelConfig config = parse_model_config(json);
    for (const char* key : kGgufHeadSizes) {
      const std::string name = std::string(family.gguf_architecture) + "." + key;
      GRPO_CHECK(!file.has(name) || file.int_at(name) == config.head_dim,
                 fmt::format("{}: expected the head size {}, got {}", name, config.head_dim, file.int_at(name)));
    }
    return config;
  } catch (const Error& error) {
    throw Error(file.source() + ": " + error.what(), error.kind());
  }
}

std::optional<StoredType> type_numbered(std::uint32_t number) {
  for (const GgufTypeNumber& entry : kGgufTypes) {
    if (entry.number == number) return entry.type;
  }
  return std::nullopt;
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

StoredTensor stored(const GgufFile& file, const GgufTensor& tensor, std::shared_ptr<const InputFile> input) {
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
  const std::uint64_t data = input->size() - file.data_offset();
  GRPO_CHECK(tensor.offset <= data && bytes <= data - tensor.offset,
             where + fmt::format("expected {} bytes at offset {} of the data, which has {} (truncated file?)", bytes,
                                 tensor.offset, data));
  result.file = std::move(input);
  result.offset = file.data_offset() + tensor.offset;
  result.size = bytes;
  return result;
}

// Takes the tensor of rotary factors out of the model's and puts what it says into the configuration.
void take_rope_factors(const GgufFile& file, GgufModel& model) {
  const auto found = std::find_if(model.tensors.begin(), model.tensors.end(),
                                  [](const StoredTensor& tensor) { return tensor.name == kRopeFactorsName; });
  if (found == model.tensors.end()) return;
  const std::vector<std::int64_t> shape{model.config.head_dim / 2};
  GRPO_CHECK(found->shape == shape && found->type == StoredType::F32,
             file.source() + ": tensor \"" + kRopeFactorsName + "\": expected F32 " + shape_text(shape) + ", got " +
                 info(found->type).name + " " + shape_text(found->shape));
  const at::Tensor values = decode(*found);
  const std::vector<float> factors(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
  model.config.rope_scaling = scaling_of_factors(file, factors, model.config);
  model.tensors.erase(found);
}

}  // namespace

double shortest_decimal(double value) {
  const std::string text = fmt::format("{}", static_cast<float>(value));
  double result = value;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

void refuse_gguf_key(const GgufFile& file, const std::string& key, const std::string& expected) {
  throw Error(file.source() + ": " + key + ": expected " + expected + " (nothing else is supported)");
}

ModelConfig gguf_config(const std::string& path) { return config_of(GgufFile::read(InputFile(path))); }

GgufModel open_gguf(const std::string& path) {
  const auto input = std::make_shared<const InputFile>(path);
  const GgufFile file = GgufFile::read(*input);
  GgufModel model;
  model.config = config_of(file);
  GRPO_CHECK(file.data_offset() <= input->size(), path + ": expected tensor data behind the header (truncated file?)");
  for (const GgufTensor& tensor : file.tensors()) model.tensors.push_back(stored(file, tensor, input));
  take_rope_factors(file, model);
  return model;
}

at::Tensor unpair_rows(const at::Tensor& values, std::int64_t heads) {
  const std::int64_t half = values.size(0) / heads / 2;
  return values.view({heads, half, 2, -1}).transpose(1, 2).reshape(values.sizes());
}

at::Tensor pair_rows(const at::Tensor& values, std::int64_t heads) {
  const std::int64_t half = values.size(0) / heads / 2;
  return values.view({heads, 2, half, -1}).transpose(1, 2).reshape(values.sizes());
}

}  // namespace grpo::inline GRPO_ABI
