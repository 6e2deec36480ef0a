// Export as a GGUF file.
#include <algorithm>

#include <ATen/core/grad_mode.h>

#include "base/files.h"
#include "base/log.h"
#include "model/causal_lm.h"
#include "model/gguf.h"
#include "model/gguf_keys.h"
#include "model/gguf_rope.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kAlignment = 32;  // the format's default
constexpr std::uint32_t kVersion = 3, kQuantizationVersion = 2;

// llama.cpp's number for what most tensors are.
std::uint32_t file_type(GgufType type) {
  switch (type) {
    case GgufType::F32:
      return 0;
    case GgufType::F16:
      return 1;
    case GgufType::Q8_0:
      return 7;
    case GgufType::BF16:
      return 32;
  }
  throw Error("unknown GGUF type", ErrorKind::Internal);
}

StoredType stored_type(GgufType type) {
  switch (type) {
    case GgufType::F32:
      return StoredType::F32;
    case GgufType::F16:
      return StoredType::F16;
    case GgufType::BF16:
      return StoredType::BF16;
    case GgufType::Q8_0:
      return StoredType::Q8_0;
  }
  throw Error("unknown GGUF type", ErrorKind::Internal);
}

// llama.cpp wants vectors in F32; its own converter too falls back to F16 where blocks do not fit.
StoredType type_of(const std::vector<std::int64_t>& shape, GgufType type) {
  if (shape.size() == 1) return StoredType::F32;
  if (type == GgufType::Q8_0 && shape.back() % info(StoredType::Q8_0).block != 0) return StoredType::F16;
  return stored_type(type);
}

std::uint32_t number_of(StoredType type) {
  const auto* found = std::find_if(std::begin(kGgufTypes), std::end(kGgufTypes),
                                   [type](const GgufTypeNumber& entry) { return entry.type == type; });
  GRPO_ASSERT(found != std::end(kGgufTypes));
  return found->number;
}

// The three stop ids that GGUF has names for; the tokenizer's own end goes first.
void write_stop_ids(const ModelConfig& config, const Tokenizer* tokenizer, GgufMetadata& metadata) {
  std::vector<std::int32_t> ids = config.eos_ids;
  const std::optional<std::int32_t> own = tokenizer ? tokenizer->eos_id() : std::nullopt;
  if (own && ids.empty()) ids = {*own};
  const auto place = std::find(ids.begin(), ids.end(), own.value_or(-1));
  if (place != ids.end()) std::rotate(ids.begin(), place, place + 1);
  for (std::size_t i = 0; i < std::min(ids.size(), std::size(kGgufStopKeys)); ++i) {
    metadata.integer(kGgufStopKeys[i], static_cast<std::uint32_t>(ids[i]));
  }
  for (std::size_t i = std::size(kGgufStopKeys); i < ids.size(); ++i) {
    log::warn("save_gguf: GGUF names three stop ids, so " + std::to_string(ids[i]) + " is left out");
  }
}

void write_special_ids(const ModelConfig& config, const Tokenizer* tokenizer, GgufMetadata& metadata) {
  const Json named = tokenizer ? tokenizer->template_defaults() : Json();
  const auto own = [&](const char* name) {
    const Json* token = named.find(name);
    return token ? tokenizer->token_id(token->as_string()) : std::nullopt;
  };
  const auto write = [&](const char* key, std::optional<std::int32_t> id, std::optional<std::int32_t> otherwise) {
    if (!id) id = otherwise;
    if (id) metadata.integer(key, static_cast<std::uint32_t>(*id));
  };
  write("tokenizer.ggml.bos_token_id", own("bos_token"), config.bos_id);
  write("tokenizer.ggml.padding_token_id", own("pad_token"), config.pad_id);
  write("tokenizer.ggml.unknown_token_id", own("unk_token"), std::nullopt);
  write_stop_ids(config, tokenizer, metadata);
}

GgufMetadata metadata_of(const ModelConfig& config, const Family& family, const Tokenizer* tokenizer, GgufType type) {
  GgufMetadata metadata;
  metadata.text("general.architecture", family.gguf_architecture);
  metadata.text("general.type", "model");
  metadata.integer("general.file_type", file_type(type));
  metadata.integer("general.quantization_version", kQuantizationVersion);
  const std::string prefix = std::string(family.gguf_architecture) + ".";
  const Json json = to_config_json(config);
  for (const auto& [ours, key] : kGgufIntegers) {
    metadata.integer(prefix + key, static_cast<std::uint32_t>(json.at(ours).as_int()));
  }
  for (const char* key : kGgufHeadSizes) metadata.integer(prefix + key, static_cast<std::uint32_t>(config.head_dim));
  for (const auto& [ours, key] : kGgufReals) {
    metadata.real(prefix + key, static_cast<float>(json.at(ours).as_double()));
  }
  write_gguf_rope(config, prefix, metadata);
  if (tokenizer) write_gguf_tokenizer(*tokenizer, config.vocab_size, metadata);
  write_special_ids(config, tokenizer, metadata);
  return metadata;
}

// Tensors are announced first, then written in the same order.
struct Plan {
  std::string infos;
  std::uint64_t count = 0, offset = 0;

  void add(const std::string& name, const std::vector<std::int64_t>& shape, StoredType type) {
    GgufMetadata::append(infos, name);
    GgufMetadata::append(infos, static_cast<std::uint32_t>(shape.size()));
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
      GgufMetadata::append(infos, static_cast<std::uint64_t>(*size));
    }
    GgufMetadata::append(infos, number_of(type));
    GgufMetadata::append(infos, offset);
    const auto bytes = static_cast<std::uint64_t>(checked_elements(shape) / info(type).block * info(type).bytes);
    offset += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    ++count;
  }
};

void write_padded(AtomicFile& file, std::string bytes) {
  bytes.resize((bytes.size() + kAlignment - 1) / kAlignment * kAlignment, '\0');
  file.write(bytes);
}

}  // namespace

void CausalLM::save_gguf(const std::string& path, const Tokenizer* tokenizer, GgufType type) const {
  const at::NoGradGuard no_grad;
  if (tokenizer) check_vocabulary(impl_->config, *tokenizer);
  const GgufMetadata metadata = metadata_of(impl_->config, *impl_->family, tokenizer, type);
  const std::vector<float> factors = rope_factors(impl_->config);
  Plan plan;
  if (!factors.empty()) plan.add(kRopeFactorsName, {static_cast<std::int64_t>(factors.size())}, StoredType::F32);
  for (const WeightSpec& spec : impl_->specs) plan.add(spec.gguf_name, spec.shape, type_of(spec.shape, type));

  AtomicFile file(path);
  std::string head = "GGUF";
  GgufMetadata::append(head, kVersion);
  GgufMetadata::append(head, plan.count);
  GgufMetadata::append(head, metadata.count());
  write_padded(file, head + metadata.bytes() + plan.infos);
  if (!factors.empty()) {
    write_padded(file, {reinterpret_cast<const char*>(factors.data()), factors.size() * sizeof(float)});
  }
  for (std::size_t i = 0; i < impl_->specs.size(); ++i) {
    const WeightSpec& spec = impl_->specs[i];
    at::Tensor values = get_values(*impl_->parameters[i]);
    if (spec.gguf_paired_heads != 0) values = pair_rows(values, spec.gguf_paired_heads);
    write_padded(file, encode(values, type_of(spec.shape, type), spec.name));
  }
  file.commit();
}

}  // namespace grpo::inline GRPO_ABI
