#include "train/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <filesystem>
#include <limits>
#include <unordered_map>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kReference = "reference.safetensors";

std::string checksum_of(const std::string& path) { return checksum_hex(MappedFile(path).bytes()); }

std::vector<NamedTensor> weights_of(const CausalLM& model) {
  std::vector<NamedTensor> tensors;
  for (const Parameter* parameter : model.parameters()) tensors.push_back({parameter->name, get_values(*parameter)});
  return tensors;
}

void load_weights(const std::string& path, CausalLM& model) {
  std::unordered_map<std::string, at::Tensor> tensors;
  for (NamedTensor& entry : load_safetensors(path)) tensors.emplace(entry.name, entry.tensor);
  for (Parameter* parameter : model.parameters()) {
    const auto it = tensors.find(parameter->name);
    GRPO_CHECK(it != tensors.end(), fmt::format("{}: tensor '{}' is missing", path, parameter->name));
    set_values(*parameter, it->second);
  }
}

}  // namespace

void save_checkpoint(const std::string& folder, const CheckpointState& state, const CausalLM& model,
                     const Tokenizer& tokenizer, const Optimizer& optimizer, const CausalLM* reference) {
  const std::string parent = fs::path(folder).parent_path();
  const std::string temporary = folder + ".partial";
  ensure_directory(parent);
  fs::remove_all(temporary);
  ensure_directory(temporary);
  model.save(temporary, &tokenizer, DType::Float32, std::numeric_limits<std::int64_t>::max());  // one file, kModel
  save_safetensors(temporary + "/" + kOptimizer, optimizer.state());
  if (reference) save_safetensors(temporary + "/" + kReference, weights_of(*reference));
  Json json;
  json["step"] = state.step;
  json["optimizer_steps"] = optimizer.steps_done();
  json["stage"] = state.stage;
  for (const char* name : {kModel, kOptimizer, kReference})
    if (fs::exists(temporary + "/" + name)) json["checksums"][name] = checksum_of(temporary + "/" + name);
  write_file_atomic(temporary + "/state.json", json.dump(2) + "\n");
  fs::remove_all(folder);
  fs::rename(temporary, folder);
  sync_directory(parent);
}

CheckpointState load_checkpoint(const std::string& folder, CausalLM& model, Optimizer& optimizer, CausalLM* reference) {
  const std::string state_path = folder + "/state.json";
  const Json json = parse_json(read_file(state_path), {.source = state_path});
  for (const auto& [name, expected] : json.at("checksums").as_object()) {
    const std::string actual = checksum_of(folder + "/" + name);
    GRPO_CHECK(actual == expected.as_string(),
               fmt::format("{}/{}: damaged: expected checksum {}, got {}", folder, name, expected.as_string(), actual));
  }
  load_weights(folder + "/" + kModel, model);
  optimizer.load_state(load_safetensors(folder + "/" + kOptimizer), json.at("optimizer_steps").as_int());
  if (reference) load_weights(folder + "/" + kReference, *reference);
  return {json.at("step").as_int(), json.at("stage")};
}

}  // namespace grpo::inline GRPO_ABI
