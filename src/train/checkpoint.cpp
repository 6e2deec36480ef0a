#include "train/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>
#include <unordered_map>

#include "base/files.h"
#include "model/run_checkpoint.h"
#include "model/safetensors.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kReference = "reference.safetensors";
constexpr const char* kRollout = "rollout";
constexpr const char* kState = "state.json";

std::string damaged(const std::string& path, const std::string& expected, const std::string& actual) {
  return fmt::format(
      "{}: damaged: expected checksum {}, got {}; without this checkpoint --resume goes on from the one "
      "before",
      path, expected, actual);
}

// Here and below tensors are taken one at a time: together they would need their size again.
void save_optimizer(const std::string& path, const Optimizer& optimizer, const CausalLM& model) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Parameter* parameter : model.parameters())
    if (parameter->trainable)
      for (const char* moment : {"moment1.", "moment2."})
        entries.push_back({moment + parameter->name, at::kFloat, parameter->shape});
  SafetensorsWriter writer(path, std::move(entries), {});
  optimizer.each_state([&](const std::string&, const at::Tensor& tensor) { writer.write(tensor); });
  writer.commit();
}

void save_weights(const std::string& path, const CausalLM& model) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Parameter* parameter : model.parameters())
    entries.push_back({parameter->name, at::kFloat, parameter->shape});
  SafetensorsWriter writer(path, std::move(entries), {});
  for (const Parameter* parameter : model.parameters()) writer.write(get_values(*parameter));
  writer.commit();
}

// A file's tensors by name, read when they are asked for.
class StoredTensors {
 public:
  explicit StoredTensors(std::string path) : path_(std::move(path)) {
    for (StoredTensor& tensor : open_safetensors(path_)) {
      std::string name = tensor.name;
      tensors_.emplace(std::move(name), std::move(tensor));
    }
  }
  at::Tensor read(const std::string& name) const {
    const auto it = tensors_.find(name);
    GRPO_CHECK(it != tensors_.end(), fmt::format("{}: tensor '{}' is missing", path_, name));
    return decode(it->second);
  }

 private:
  std::string path_;
  std::unordered_map<std::string, StoredTensor> tensors_;
};

void load_weights(const std::string& path, CausalLM& model) {
  const StoredTensors stored(path);
  for (Parameter* parameter : model.parameters()) set_values(*parameter, stored.read(parameter->name));
}

Json best_json(const BestStep& best) {
  return Json::Object{{"step", best.step}, {"metric", best.metric}, {"value", best.value}};
}

// Of the files that are in a folder.
Json checksums_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  Json checksums = Json::Object{};
  for (const std::string& name : names) checksums[name] = checksum_of_file(folder + "/" + name);
  return checksums;
}

Json state_json(const CheckpointState& state, Json checksums) {
  Json json;
  json["step"] = state.step;
  json["stage"] = state.stage;
  if (state.best) json["best"] = best_json(*state.best);
  if (state.unfinished) {
    json["unfinished"] = Json::Object{};
    for (const auto& [name, value] : *state.unfinished) json["unfinished"][name] = value;
  }
  json["checksums"] = std::move(checksums);
  return json;
}

CheckpointState state_of(const Json& json) {
  CheckpointState state{json.at("step").as_int(), json.at("stage"), std::nullopt, std::nullopt};
  if (const Json* best = json.find("best"))
    state.best = {best->at("step").as_int(), best->at("metric").as_string(), best->at("value").as_double()};
  if (const Json* unfinished = json.find("unfinished")) {
    state.unfinished.emplace();
    for (const auto& [name, value] : unfinished->as_object())
      state.unfinished->emplace(name, value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.as_double());
  }
  return state;
}

// Last into the folder: one that has it is whole.
void write_state(const std::string& folder, Json json) {
  json["checksum"] = checksum_hex(json.dump());
  write_file_atomic(folder + "/" + kState, json.dump(2) + "\n");
}

Json read_state(const std::string& folder) {
  const std::string path = folder + "/" + kState;
  Json json = parse_json(read_file(path), {.source = path});
  const std::string expected = json.at("checksum").as_string();
  json.erase("checksum");
  const std::string actual = checksum_hex(json.dump());
  GRPO_CHECK(actual == expected, damaged(path, expected, actual));
  return json;
}

}  // namespace

void save_checkpoint(const std::string& folder, const CheckpointState& state, const CausalLM& model,
                     const Tokenizer& tokenizer, const Optimizer& optimizer, const CausalLM* reference,
                     const Rollout* in_flight) {
  const std::string temporary = folder + ".partial";
  remove_folder(temporary);
  ensure_directory(temporary);
  try {
    model.save(temporary, &tokenizer, DType::Float32, std::numeric_limits<std::int64_t>::max());  // one file, kModel
    save_optimizer(temporary + "/" + kOptimizer, optimizer, model);
    if (reference) save_weights(temporary + "/" + kReference, *reference);
    if (in_flight) save_rollout(temporary + "/" + kRollout, *in_flight);
    write_state(temporary, state_json(state, checksums_in(temporary)));
    remove_folder(folder);
    move_folder(temporary, folder);
  } catch (...) {  // what a full disk took is free again
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

void update_checkpoint(const std::string& folder, const CheckpointState& state) {
  write_state(folder, state_json(state, read_state(folder).at("checksums")));
}

LoadedCheckpoint load_checkpoint(const std::string& folder, CausalLM& model, Optimizer& optimizer,
                                 CausalLM* reference) {
  const Json json = read_state(folder);
  for (const auto& [name, expected] : json.at("checksums").as_object()) {
    const std::string actual = checksum_of_file(folder + "/" + name);
    GRPO_CHECK(actual == expected.as_string(), damaged(folder + "/" + name, expected.as_string(), actual));
  }
  LoadedCheckpoint loaded{state_of(json), std::nullopt};
  load_weights(folder + "/" + kModel, model);
  const StoredTensors moments(folder + "/" + kOptimizer);
  optimizer.load_each_state([&](const std::string& name) { return moments.read(name); }, loaded.state.step);
  if (reference) {
    GRPO_CHECK(fs::exists(folder + "/" + kReference),
               fmt::format("grpo.beta: {} has no reference policy, it was 0 in the run", folder));
    load_weights(folder + "/" + kReference, *reference);
  }
  if (fs::exists(folder + "/" + kRollout)) loaded.in_flight = load_rollout(folder + "/" + kRollout);
  return loaded;
}

void write_best(const std::string& run_folder, const std::optional<BestStep>& best) {
  const std::string path = run_folder + "/best.json";
  if (best) {
    write_file_atomic(path, best_json(*best).dump() + "\n");
  } else {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
}

void prune_checkpoints(const std::string& run_folder, int keep, const std::optional<BestStep>& best) {
  if (keep == 0) return;
  std::vector<std::int64_t> steps = checkpoint_steps(run_folder);
  steps.resize(steps.size() - std::min(steps.size(), static_cast<std::size_t>(keep)));
  for (const std::int64_t step : steps)
    if (!best || best->step != step) remove_folder(checkpoint_path(run_folder, step));
}

}  // namespace grpo::inline GRPO_ABI
