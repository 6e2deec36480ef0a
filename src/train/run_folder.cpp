#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/jsonl.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

// What a resumed run may change: how long, how often, where and with how many threads, never what is computed.
constexpr std::array<std::string_view, 10> kMayChange = {
    "max_steps", "output_dir", "save_every",           "threads",     "log_completions",
    "eval",      "name",       "max_failure_fraction", "distributed", "trace"};

std::string path_of(const RunConfig& config) {
  return config.output_dir.empty() ? "runs/" + config.name : config.output_dir;
}

std::string checkpoint_name(std::int64_t step) { return fmt::format("checkpoints/step-{}", step); }

void collect_differences(const Json& a, const Json& b, const std::string& path, std::vector<std::string>& out) {
  if (a == b) return;
  if (a.is_object() && b.is_object()) {
    for (const auto& [key, value] : a.as_object()) {
      if (path.empty() && std::find(kMayChange.begin(), kMayChange.end(), key) != kMayChange.end()) continue;
      const Json* other = b.find(key);
      collect_differences(value, other ? *other : Json(), path.empty() ? key : path + "." + key, out);
    }
    return;
  }
  out.push_back(fmt::format("{}: {} in the run, {} now", path, a.dump(), b.dump()));
}

// Cuts a file of records, whose steps ascend, behind the last record of `last_step`.
void cut_records(const std::string& path, std::int64_t last_step) {
  if (!fs::exists(path)) return;
  std::uint64_t kept = 0;
  for_each_jsonl_row(path, [&](const Json& row, std::uint64_t end) {
    const bool stays = row.at("step").as_int() <= last_step;
    if (stays) kept = end;
    return stays;
  });
  truncate_file(path, kept);
}

}  // namespace

RunFolder::RunFolder(const RunConfig& config, bool resume) : path_(path_of(config)) {
  std::error_code unreadable;  // a folder that cannot be read cannot be made or written either
  const bool holds_run = fs::exists(file("config.resolved.yaml"), unreadable);
  GRPO_CHECK(!resume || holds_run, fmt::format("output_dir: {} holds no run to resume", path_));
  GRPO_CHECK(
      resume || !holds_run,
      fmt::format("output_dir: {} already holds a run; pass --resume to continue it or choose another folder", path_));
  ensure_directory(path_);
  const std::string lock_path = file("LOCK");
  lock_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  GRPO_CHECK(lock_ >= 0, fmt::format("{}: cannot create the lock: {}", lock_path, std::strerror(errno)));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    throw Error(fmt::format("output_dir: {} is in use by another run (LOCK is held)", path_));
  }
}

RunFolder::~RunFolder() {
  std::error_code ignored;
  fs::remove(file("LOCK"), ignored);
  ::close(lock_);
}

std::string RunFolder::checkpoint(std::int64_t step) const { return file(checkpoint_name(step)); }

std::string RunFolder::checkpoint(const RunConfig& config, std::int64_t step) {
  return path_of(config) + "/" + checkpoint_name(step);
}

std::optional<std::int64_t> RunFolder::last_checkpoint() const { return newest_checkpoint(path_); }

void RunFolder::truncate_records(std::int64_t step) const {
  cut_records(file("metrics.jsonl"), step);
  cut_records(file("completions.jsonl"), step);
}

void RunFolder::save_config(const RunConfig& config) const {
  write_file_atomic(file("config.resolved.yaml"), to_yaml(config_to_tree(config)));
}

void RunFolder::check_config(const RunConfig& config) const {
  const std::string path = file("config.resolved.yaml");
  std::vector<std::string> differences;
  const Json now = parse_yaml(to_yaml(config_to_tree(config)), "config");
  collect_differences(parse_yaml(read_file(path), path), now, "", differences);
  if (differences.empty()) return;
  std::string list;
  for (const std::string& difference : differences) list += "\n  " + difference;
  throw Error(fmt::format("--resume: the config differs from {}:{}", path, list));
}

void RunFolder::log_completions(std::int64_t step, const RolloutGroup& group,
                                const std::vector<std::string>& reward_names, int limit) {
  if (!completions_) completions_.emplace(file("completions.jsonl"));
  const std::size_t count = std::min(group.completions.size(), static_cast<std::size_t>(std::max(0, limit)));
  std::string lines;
  for (std::size_t c = 0; c < count; ++c) {
    const Completion& completion = group.completions[c];
    Json line;
    line["step"] = step;
    line["id"] = group.prompt.id;
    line["prompt"] = group.prompt.text;
    line["completion"] = completion.text;
    line["finish_reason"] = to_string(completion.finish_reason);
    line["num_tokens"] = completion.ids.size();
    Json rewards = Json::Object{}, codes = Json::Object{}, reasons = Json::Object{};
    for (std::size_t k = 0; k < reward_names.size(); ++k) {
      rewards[reward_names[k]] = group.rewards[c][k];
      codes[reward_names[k]] = group.verdicts[c][k].verdict;
      reasons[reward_names[k]] = group.verdicts[c][k].why;
    }
    line["rewards"] = rewards;
    line["verdict"] = codes;
    line["why"] = reasons;
    line["advantage"] = group.advantages[c];
    lines += line.dump() + "\n";
  }
  completions_->append(lines);
}

}  // namespace grpo::inline GRPO_ABI
