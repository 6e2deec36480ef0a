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
  // Takes the lock. Fresh: refuses a folder that holds a run. Throws Error, having written nothing, when it cannot.
  RunFolder(const RunConfig& config, bool resume);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string checkpoint(std::int64_t step) const;
  static std::string checkpoint(const RunConfig& config, std::int64_t step);  // likewise, without the lock
  // Step of the newest complete checkpoint.
  std::optional<std::int64_t> last_checkpoint() const;
  // Drops records of steps after `step`, so that a resumed run writes them anew.
  void truncate_records(std::int64_t step) const;
  // Writes config.resolved.yaml; a resumed run's config must agree with the one there, but for lengths and intervals.
  void save_config(const RunConfig& config) const;
  void check_config(const RunConfig& config) const;
  // One line per completion, the first `limit` of each group.
  void log_completions(std::int64_t step, const RolloutGroup& group, const std::vector<std::string>& reward_names,
                       int limit);

 private:
  std::string path_;
  int lock_ = -1;
  std::optional<AppendFile> completions_;
};

}  // namespace grpo::inline GRPO_ABI
