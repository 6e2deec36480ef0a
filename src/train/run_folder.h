// The folder of one run: lock, resolved config, records, checkpoints.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <grpo/config.h>
#include <grpo/rollout.h>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {

class RunFolder {
 public:
  // Takes the lock and clears away what a killed process left half done. Fresh: refuses a folder that holds a run.
  // Throws Error, having written nothing, when it cannot.
  RunFolder(const RunConfig& config, bool resume);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  static std::string path_of(const RunConfig& config);  // without the lock, for ranks that write nothing
  // Drops records of steps after `step`, so that a resumed run writes them anew.
  void truncate_records(std::int64_t step) const;
  void truncate_metrics(std::int64_t step) const;
  void sync_records() const;  // on the disk: a checkpoint that speaks of them may be written
  // Writes config.resolved.yaml and data.json, the checksums of the rows. A resumed run must agree with what is there
  // in all that decides what is computed, but for what `allow` names.
  void save_config(const RunConfig& config, const Json& data) const;
  void check_config(const RunConfig& config, const Json& data, const std::vector<std::string>& allow) const;
  // One line per completion, the first `limit` of each group.
  void log_completions(std::int64_t step, const RolloutGroup& group, const std::vector<std::string>& reward_names,
                       int limit);

 private:
  void check_holds_run(bool resume) const;
  void take_lock();
  void release_lock();

  std::string path_;
  int lock_ = -1;
  std::optional<AppendFile> completions_;
};

}  // namespace grpo::inline GRPO_ABI
