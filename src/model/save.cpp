// Export as a Hugging Face folder.
#include <filesystem>
#include <set>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/files.h"
#include "model/causal_lm.h"
#include "model/safetensors.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

const std::set<std::string> kOwnFiles = {"config.json", "generation_config.json", kSingle, kIndex};

// Names of what a save into one file writes.
std::set<std::string> names_of_save(const Tokenizer* tokenizer) {
  std::set<std::string> names = kOwnFiles;
  if (tokenizer)
    for (const Tokenizer::File& file : tokenizer->files()) names.insert(file.name);
  return names;
}

// A killed save: some of its files, and no config.json.
bool holds_unfinished_save(const std::string& folder, const Tokenizer* tokenizer) {
  const std::set<std::string> ours = names_of_save(tokenizer);
  for (const auto& entry : fs::directory_iterator(folder))
    if (!ours.contains(replaced_name(entry.path().filename()))) return false;
  return true;
}

void remove_half_written(const std::string& folder, const Tokenizer* tokenizer) {
  const std::set<std::string> ours = names_of_save(tokenizer);
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename(), target = replaced_name(name);
    if (target != name && ours.contains(target)) found.push_back(entry.path());
  }
  std::error_code ignored;
  for (const fs::path& path : found) fs::remove(path, ignored);
}

// A new folder, an empty one, or an earlier export, whose files are replaced one by one. Shards are never mixed with
// what an earlier export left.
void check_target(const std::string& folder, bool sharded, const Tokenizer* tokenizer) {
  if (!fs::exists(folder)) return;
  GRPO_CHECK(fs::is_directory(folder), "save: " + folder + ": expected a folder, found a file");
  GRPO_CHECK(fs::exists(folder + "/config.json") || holds_unfinished_save(folder, tokenizer),
             "save: " + folder + ": expected a new or empty folder or a model folder, found other files");
  GRPO_CHECK(!fs::exists(folder + "/" + kIndex),
             "save: " + folder + ": holds a sharded model (model.safetensors.index.json); save to a new folder");
  GRPO_CHECK(!sharded || !fs::exists(folder + "/" + kSingle),
             "save: " + folder + ": holds model.safetensors, and this model needs shards; save to a new folder");
}

using Shard = std::vector<const Parameter*>;

std::int64_t bytes_of(const Parameter& parameter, at::ScalarType type) {
  return checked_elements(parameter.shape) * static_cast<std::int64_t>(at::elementSize(type));
}

// In file order, a new shard whenever the next tensor would not fit.
std::vector<Shard> cut(const std::vector<Parameter*>& parameters, at::ScalarType type, std::int64_t max_bytes) {
  std::vector<Shard> shards;
  std::int64_t filled = 0;
  for (const Parameter* parameter : parameters) {
    const std::int64_t bytes = bytes_of(*parameter, type);
    if (shards.empty() || filled + bytes > max_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(parameter);
    filled += bytes;
  }
  return shards;
}

void write_shard(const std::string& path, const Shard& shard, at::ScalarType type) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Parameter* parameter : shard) entries.push_back({parameter->name, type, parameter->shape});
  SafetensorsWriter writer(path, std::move(entries), {});
  for (const Parameter* parameter : shard) writer.write(get_values(*parameter).to(type));
  writer.commit();
}

void write_weights(const std::string& folder, const std::vector<Shard>& shards, at::ScalarType type) {
  if (shards.size() == 1) return write_shard(folder + "/" + kSingle, shards[0], type);
  Json::Object places;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_shard(folder + "/" + name, shards[i], type);
    for (const Parameter* parameter : shards[i]) {
      places.emplace_back(parameter->name, name);
      total += bytes_of(*parameter, type);
    }
  }
  const Json index =
      Json::Object{{"metadata", Json::Object{{"total_size", total}}}, {"weight_map", Json(std::move(places))}};
  write_file_atomic(folder + "/" + kIndex, index.dump(2) + "\n");
}

Json generation_config(const Json& config) {
  Json generation;
  generation["_from_model_config"] = true;
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (!config.at(key).is_null()) generation[key] = config.at(key);
  }
  return generation;
}

}  // namespace

// config.json goes first and comes last: a folder without it is no model, so an interrupted save is seen for what it
// is.
void CausalLM::save(const std::string& folder, const Tokenizer* tokenizer, DType dtype,
                    std::int64_t max_shard_bytes) const {
  const at::NoGradGuard no_grad;
  const at::ScalarType type = dtype == DType::Float32 ? at::kFloat : at::kBFloat16;
  const std::vector<Shard> shards = cut(impl_->parameters, type, max_shard_bytes);
  check_target(folder, shards.size() > 1, tokenizer);
  if (tokenizer) check_vocabulary(impl_->config, *tokenizer);
  ensure_directory(folder);
  remove_half_written(folder, tokenizer);
  Json config = to_config_json(impl_->config);
  config["torch_dtype"] = dtype == DType::Float32 ? "float32" : "bfloat16";

  if (fs::remove(folder + "/config.json")) sync_directory(folder);
  write_weights(folder, shards, type);
  if (tokenizer) {
    for (const auto& [name, bytes] : tokenizer->files()) {
      GRPO_CHECK(!kOwnFiles.contains(name) && name.find('/') == std::string::npos,
                 "save: a tokenizer file cannot be named " + name);
      write_file_atomic(folder + "/" + name, bytes);
    }
  }
  write_file_atomic(folder + "/generation_config.json", generation_config(config).dump(2) + "\n");
  write_file_atomic(folder + "/config.json", config.dump(2) + "\n");
}

}  // namespace grpo::inline GRPO_ABI
