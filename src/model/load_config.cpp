// A model's configuration from its files, weights left alone.
#include <algorithm>
#include <filesystem>

#include <grpo/model.h>

#include "base/files.h"
#include "model/families.h"
#include "model/gguf.h"

namespace grpo::inline GRPO_ABI {
namespace {

Json read_json(const std::string& path) { return parse_json(read_file(path), {.source = path}); }

// config.json with the stop ids of generation_config.json, if there is one.
ModelConfig folder_config(const std::string& folder) {
  GRPO_CHECK(std::filesystem::exists(folder + "/config.json"),
             folder + ": expected config.json in the folder, found none");
  ModelConfig config = parse_model_config(read_json(folder + "/config.json"));
  const std::string generation = folder + "/generation_config.json";
  if (!std::filesystem::exists(generation)) return config;
  for (const std::int32_t id : stop_ids(read_json(generation))) {
    if (std::find(config.eos_ids.begin(), config.eos_ids.end(), id) == config.eos_ids.end())
      config.eos_ids.push_back(id);
  }
  return config;
}

}  // namespace

ModelConfig load_model_config(const std::string& path) {
  GRPO_CHECK(std::filesystem::exists(path),
             path + ": expected a model folder, a GGUF file or a config.json, found nothing");
  if (std::filesystem::is_directory(path)) return folder_config(path);
  return path.ends_with(".json") ? parse_model_config(read_json(path)) : gguf_config(path);
}

}  // namespace grpo::inline GRPO_ABI
