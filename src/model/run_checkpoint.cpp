#include "model/run_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>
#include <grpo/model.h>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {
namespace fs = std::filesystem;

std::optional<std::int64_t> step_in_name(const std::string& name) {
  if (!name.starts_with("step-")) return std::nullopt;
  std::int64_t step = 0;
  const char* end_of_name = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data() + 5, end_of_name, step);
  if (error != std::errc() || end != end_of_name) return std::nullopt;
  return step;
}

std::string checkpoint_path(const std::string& run_folder, std::int64_t step) {
  return fmt::format("{}/checkpoints/step-{}", run_folder, step);
}

std::vector<std::int64_t> checkpoint_steps(const std::string& run_folder) {
  std::vector<std::int64_t> steps;
  const fs::path checkpoints = fs::path(run_folder) / "checkpoints";
  if (!fs::is_directory(checkpoints)) return steps;
  for (const auto& entry : fs::directory_iterator(checkpoints))
    // state.json is written last, so a folder that has one is whole.
    if (const auto step = step_in_name(entry.path().filename()); step && fs::exists(entry.path() / "state.json"))
      steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<std::int64_t> newest_checkpoint(const std::string& run_folder) {
  const std::vector<std::int64_t> steps = checkpoint_steps(run_folder);
  return steps.empty() ? std::nullopt : std::optional(steps.back());
}

std::string resolve_model_path(const std::string& path) {
  if (!fs::is_directory(fs::path(path) / "checkpoints")) return path;
  const std::optional<std::int64_t> step = newest_checkpoint(path);
  GRPO_CHECK(step.has_value(), path + ": the run has no complete checkpoint");
  return checkpoint_path(path, *step);
}

std::string best_checkpoint_path(const std::string& run_folder) {
  const std::string path = run_folder + "/best.json";
  GRPO_CHECK(fs::exists(path), run_folder + ": expected a run with a best checkpoint (eval.best), found no best.json");
  const std::int64_t step = parse_json(read_file(path), {.source = path}).at("step").as_int();
  return checkpoint_path(run_folder, step);
}

}  // namespace grpo::inline GRPO_ABI
