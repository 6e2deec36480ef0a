#include <charconv>
#include <filesystem>

#include <fmt/format.h>
#include <grpo/model.h>

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename();
  if (!name.starts_with("step-")) return std::nullopt;
  std::int64_t step = 0;
  const char* end_of_name = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data() + 5, end_of_name, step);
  // state.json is written last, so a folder that has one is whole.
  if (error != std::errc() || end != end_of_name || !fs::exists(folder / "state.json")) return std::nullopt;
  return step;
}

}  // namespace

std::optional<std::int64_t> newest_checkpoint(const std::string& run_folder) {
  std::optional<std::int64_t> newest;
  const fs::path checkpoints = fs::path(run_folder) / "checkpoints";
  if (!fs::is_directory(checkpoints)) return newest;
  for (const auto& entry : fs::directory_iterator(checkpoints))
    if (const auto step = step_of(entry.path()); step && step.value() > newest.value_or(-1)) newest = step;
  return newest;
}

std::string resolve_model_path(const std::string& path) {
  if (!fs::is_directory(fs::path(path) / "checkpoints")) return path;
  const std::optional<std::int64_t> step = newest_checkpoint(path);
  GRPO_CHECK(step.has_value(), path + ": the run has no complete checkpoint");
  return fmt::format("{}/checkpoints/step-{}", path, *step);
}

}  // namespace grpo::inline GRPO_ABI
