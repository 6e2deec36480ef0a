// Export as a Hugging Face folder.
#include <filesystem>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/files.h"
#include "model/causal_lm.h"
#include "model/safetensors.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;

// A new folder, an empty one, or an earlier export, whose files are replaced one by one.
void check_target(const std::string& folder) {
  if (!fs::exists(folder)) return;
  GRPO_CHECK(fs::is_directory(folder), "save: " + folder + ": expected a folder, found a file");
  GRPO_CHECK(fs::is_empty(folder) || fs::exists(folder + "/config.json"),
             "save: " + folder + ": expected a new or empty folder or a model folder, found other files");
  GRPO_CHECK(!fs::exists(folder + "/model.safetensors.index.json"),
             "save: " + folder + ": holds a sharded model (model.safetensors.index.json); save to a new folder");
}

void write_weights(const std::string& path, const std::vector<Parameter*>& parameters, DType dtype) {
  const at::ScalarType type = dtype == DType::Float32 ? at::kFloat : at::kBFloat16;
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Parameter* parameter : parameters) entries.push_back({parameter->name, type, parameter->shape});
  SafetensorsWriter writer(path, std::move(entries), {});
  for (const Parameter* parameter : parameters) writer.write(get_values(*parameter).to(type));
  writer.commit();
}

Json generation_config(const Json& config) {
  Json generation;
  generation["_from_model_config"] = true;
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (!config.at(key).is_null()) generation[key] = config.at(key);
  }
  return generation;
}

bool is_ours(const std::string& name) {
  return name == "config.json" || name == "generation_config.json" || name == "model.safetensors";
}

}  // namespace

// config.json comes last: a folder without it is no model, so an interrupted first save is seen for what it is.
void CausalLM::save(const std::string& folder, const Tokenizer* tokenizer, DType dtype) const {
  const at::NoGradGuard no_grad;
  check_target(folder);
  if (tokenizer) check_vocabulary(impl_->config, *tokenizer);
  ensure_directory(folder);
  Json config = to_config_json(impl_->config);
  config["torch_dtype"] = dtype == DType::Float32 ? "float32" : "bfloat16";

  write_weights(folder + "/model.safetensors", impl_->parameters, dtype);
  if (tokenizer) {
    for (const auto& [name, bytes] : tokenizer->files()) {
      GRPO_CHECK(!is_ours(name) && name.find('/') == std::string::npos,
                 "save: a tokenizer file cannot be named " + name);
      write_file_atomic(folder + "/" + name, bytes);
    }
  }
  write_file_atomic(folder + "/generation_config.json", generation_config(config).dump(2) + "\n");
  write_file_atomic(folder + "/config.json", config.dump(2) + "\n");
}

}  // namespace grpo
