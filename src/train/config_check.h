// What a resumed run must share with the run in its folder: every field that decides what is computed, and the rows.
#pragma once

#include <string>
#include <vector>

#include <grpo/config.h>

namespace grpo::inline GRPO_ABI {

// Differences of two configs (as trees of fields), but for fields that change nothing that is computed.
struct FieldDifference {
  std::string field;  // "optimizer.learning_rate", "rewards.0.weight"
  std::string text;   // "optimizer.learning_rate: 0.01 in the run, 0.5 now"
};
std::vector<FieldDifference> differences(const Json& before, const Json& now);
// A checksum of what differences() compares.
std::string config_checksum(const Json& config);

// Checksums of the files of rows by their fields: {"data.train": ..., "eval.data": ...}.
Json data_checksums(const RunConfig& config);

// Fields or sections that a resumed run may change. Throws Error on a name that is no field.
class AllowedChanges {
 public:
  AllowedChanges(const std::vector<std::string>& names, const RunConfig& config);
  bool contains(const std::string& field) const;

 private:
  std::vector<std::string> names_;
};

}  // namespace grpo::inline GRPO_ABI
