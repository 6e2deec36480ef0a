#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/jsonl.h"
#include "base/log.h"
#include "base/tree_path.h"
#include "train/config_check.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecords[] = {"metrics.jsonl", "completions.jsonl"};

// Of a write or a removal that was killed.
bool is_left_over(const std::string& name) {
  return name.ends_with(".partial") || name.ends_with(".deleted") || replaced_name(name) != name;
}

void clear_left_overs(const std::string& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_left_over(entry.path().filename())) found.push_back(entry.path());
  std::error_code ignored;
  for (const fs::path& path : found) fs::remove_all(path, ignored);
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

std::string RunFolder::path_of(const RunConfig& config) {
  return config.output_dir.empty() ? "runs/" + config.name : config.output_dir;
}

RunFolder::RunFolder(const RunConfig& config, bool resume) : path_(path_of(config)) {
  check_holds_run(resume);
  ensure_directory(path_);
  take_lock();
  try {
    check_holds_run(resume);  // another run may have come and gone meanwhile
    for (const std::string& folder : {path_, file("checkpoints"), file("rollouts")}) clear_left_overs(folder);
  } catch (...) {
    release_lock();
    throw;
  }
}

RunFolder::~RunFolder() { release_lock(); }

void RunFolder::check_holds_run(bool resume) const {
  std::error_code unreadable;  // a folder that cannot be read cannot be made or written either
  const bool holds_run = fs::exists(file("config.resolved.yaml"), unreadable);
  GRPO_CHECK(!resume || holds_run, fmt::format("output_dir: {} holds no run to resume", path_));
  GRPO_CHECK(
      resume || !holds_run,
      fmt::format("output_dir: {} already holds a run; pass --resume to continue it or choose another folder", path_));
}

// A lock on a file that its last holder removed between our opening and locking it is worth nothing.
void RunFolder::take_lock() {
  const std::string path = file("LOCK");
  while (true) {
    lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    GRPO_CHECK(lock_ >= 0, fmt::format("{}: cannot create the lock: {}", path, std::strerror(errno)));
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      ::close(lock_);
      throw Error(fmt::format("output_dir: {} is in use by another run (LOCK is held)", path_));
    }
    struct stat ours = {}, there = {};
    const bool same = ::fstat(lock_, &ours) == 0 && ::stat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino;
    if (same) return;
    ::close(lock_);
  }
}

void RunFolder::release_lock() {
  std::error_code ignored;
  fs::remove(file("LOCK"), ignored);
  ::close(lock_);
}

void RunFolder::truncate_records(std::int64_t step) const {
  for (const char* name : kRecords) cut_records(file(name), step);
}

void RunFolder::truncate_metrics(std::int64_t step) const { cut_records(file("metrics.jsonl"), step); }

void RunFolder::sync_records() const {
  for (const char* name : kRecords)
    if (fs::exists(file(name))) AppendFile(file(name)).sync();
}

// The config comes last: a folder that has it holds a run.
void RunFolder::save_config(const RunConfig& config, const Json& data) const {
  write_file_atomic(file("data.json"), data.dump(2) + "\n");
  write_file_atomic(file("config.resolved.yaml"), to_yaml(config_to_tree(config)));
}

void RunFolder::check_config(const RunConfig& config, const Json& data, const std::vector<std::string>& allow) const {
  const AllowedChanges allowed(allow, config);
  const std::string path = file("config.resolved.yaml"), data_path = file("data.json");
  const Json before = parse_yaml(read_file(path), path);
  std::vector<FieldDifference> found = differences(before, parse_yaml(to_yaml(config_to_tree(config)), "config"));
  // Other rows in a file of the same name.
  const Json rows_before = parse_json(read_file(data_path), {.source = data_path});
  for (const auto& [field, checksum] : data.as_object()) {
    const Json* then = rows_before.find(field);
    const Json* name = find_path(before, field);
    if (then && *then != checksum && name && *name == *find_path(config_to_tree(config), field))
      found.push_back({field, fmt::format("{}: the rows of {} have changed: checksum {} in the run, {} now", field,
                                          name->as_string(), then->as_string(), checksum.as_string())});
  }
  std::string refused;
  for (const auto& [field, text] : found)
    if (!allowed.contains(field)) refused += "\n  " + text;
  GRPO_CHECK(refused.empty(),
             fmt::format("--resume: the config differs from {} (--allow FIELD takes a change):{}", path, refused));
  for (const FieldDifference& difference : found) log::info("--allow: " + difference.text);
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
