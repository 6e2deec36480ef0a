#include <algorithm>
#include <string>
#include <utility>

#include <grpo/text.h>

#include "base/files.h"
#include "base/random.h"

namespace grpo::inline GRPO_ABI {

namespace {

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

}  // namespace

Dataset Dataset::load(const std::string& path, int max_rows) {
  GRPO_CHECK(max_rows >= 0, "Dataset::load: max_rows: expected 0 or more, got " + std::to_string(max_rows));
  const std::string text = read_file(path);
  std::string_view rest(text);
  if (rest.substr(0, 3) == "\xEF\xBB\xBF") rest.remove_prefix(3);
  Dataset dataset;
  dataset.source_ = path;
  JsonParseOptions options;
  options.source = path;
  for (int line_number = 1; !rest.empty(); ++line_number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (is_blank(line)) continue;
    options.first_line = line_number;
    Json row = parse_json(line, options);
    GRPO_CHECK(row.is_object(), path + ":" + std::to_string(line_number) + ": expected a row as a JSON object, got " +
                                    row.dump().substr(0, 60));
    dataset.rows_.push_back(std::move(row));
    if (max_rows > 0 && dataset.rows_.size() == static_cast<std::size_t>(max_rows)) break;
  }
  GRPO_CHECK(!dataset.rows_.empty(), path + ": expected at least one row of JSON, got none");
  return dataset;
}

Dataset Dataset::from_rows(std::vector<Json> rows, const std::string& source) {
  GRPO_CHECK(!rows.empty(), source + ": expected at least one row, got none");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    GRPO_CHECK(rows[i].is_object(),
               source + ": row " + std::to_string(i) + ": expected an object, got " + rows[i].dump().substr(0, 60));
  }
  Dataset dataset;
  dataset.rows_ = std::move(rows);
  dataset.source_ = source;
  return dataset;
}

RowOrder::RowOrder(std::size_t num_rows, std::int64_t seed, bool shuffle)
    : num_rows_(num_rows), seed_(seed), shuffle_(shuffle) {
  GRPO_CHECK(num_rows > 0, "RowOrder: expected at least one row, got none");
}

std::uint64_t RowOrder::row_at(std::uint64_t position) const {
  const std::uint64_t offset = position % num_rows_;
  if (!shuffle_) return offset;
  const std::uint64_t epoch = position / num_rows_;
  if (epoch != cached_epoch_) {
    const std::vector<std::int64_t> order =
        permutation(static_cast<std::int64_t>(num_rows_), static_cast<std::uint64_t>(seed_), epoch);
    permutation_.assign(order.begin(), order.end());
    cached_epoch_ = epoch;
  }
  return permutation_[offset];
}

}  // namespace grpo::inline GRPO_ABI
