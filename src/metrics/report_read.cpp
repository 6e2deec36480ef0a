#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>

#include "base/files.h"
#include "base/jsonl.h"
#include "metrics/report.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::int64_t step_of(const Json& row) {
  const std::int64_t step = row.at("step").as_int();
  GRPO_CHECK(step >= 0, row.where() + ": step: expected a number from 0 up, got " + std::to_string(step));
  return step;
}

// Rows of the first step that has any, of the first from `middle_step` on, and of the last.
std::vector<Json> sample_rows(const std::string& path, std::int64_t middle_step) {
  std::vector<Json> first, middle, last;
  const auto belongs = [](const std::vector<Json>& rows, std::int64_t step) {
    return rows.empty() || step_of(rows.front()) == step;
  };
  std::int64_t current = -1;
  for_each_jsonl_row(path, [&](Json row, std::uint64_t) {
    const std::int64_t step = step_of(row);
    if (step != current) last.clear();
    current = step;
    std::vector<Json>& rows = belongs(first, step)                           ? first
                              : step >= middle_step && belongs(middle, step) ? middle
                                                                             : last;
    rows.push_back(std::move(row));
    return true;
  });
  std::move(middle.begin(), middle.end(), std::back_inserter(first));
  std::move(last.begin(), last.end(), std::back_inserter(first));
  return first;
}

}  // namespace

const Curve* RunRecord::find(std::string_view metric) const {
  const auto found = std::lower_bound(metrics.begin(), metrics.end(), metric,
                                      [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  return found != metrics.end() && found->first == metric ? &found->second : nullptr;
}

RunRecord read_run(const std::string& folder) {
  const auto file = [&](const char* name) { return (std::filesystem::path(folder) / name).string(); };
  GRPO_CHECK(std::filesystem::exists(file("metrics.jsonl")),
             "report: " + folder + ": expected the folder of a run, with metrics.jsonl in it");
  RunRecord run;
  run.folder = std::filesystem::weakly_canonical(folder).filename().string();
  run.name = run.folder;
  if (std::filesystem::exists(file("config.resolved.yaml"))) {
    run.config_text = read_file(file("config.resolved.yaml"));
    run.config = parse_yaml(run.config_text, file("config.resolved.yaml"));
    if (const Json* name = run.config.find("name"); name != nullptr && name->is_string()) run.name = name->as_string();
  }
  if (std::filesystem::exists(file("environment.json")))
    run.environment = parse_json(read_file(file("environment.json")), {.source = file("environment.json")});
  std::map<std::string, Curve> curves;
  for_each_jsonl_row(file("metrics.jsonl"), [&](const Json& row, std::uint64_t) {
    const std::int64_t step = step_of(row);
    run.last_step = std::max(run.last_step, step);
    for (const auto& [name, value] : row.as_object()) {
      if (name == "step" || !value.is_number()) continue;  // a value that is not finite is null
      Curve& curve = curves[name];
      GRPO_CHECK(curve.empty() || curve.back().first < step, row.where() + ": step: expected one after " +
                                                                 std::to_string(curve.back().first) + ", got " +
                                                                 std::to_string(step));
      curve.emplace_back(step, value.as_double());
    }
    return true;
  });
  run.metrics.assign(std::make_move_iterator(curves.begin()), std::make_move_iterator(curves.end()));
  if (std::filesystem::exists(file("completions.jsonl")))
    run.samples = sample_rows(file("completions.jsonl"), run.last_step / 2);
  return run;
}

}  // namespace grpo::inline GRPO_ABI
