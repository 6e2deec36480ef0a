// What a report is made of: the records of runs, and charts drawn from them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

// A metric over a run: (step, value), steps ascending, finite values only.
using Curve = std::vector<std::pair<std::int64_t, double>>;

// What a run folder says. A last line that a killed run left torn is left out; any other bad line is an Error.
struct RunRecord {
  std::string folder;                                  // its own name, without the path
  std::string name;                                    // of the run; the folder's where no configuration says it
  Json config;                                         // config.resolved.yaml
  std::string config_text;                             // the same as it was written
  Json environment;                                    // environment.json; null where there is none
  std::vector<std::pair<std::string, Curve>> metrics;  // by name
  std::vector<Json> samples;                           // rows of completions.jsonl of the first, middle and last step
  const Curve* find(std::string_view metric) const;    // null when the run has none
  std::int64_t last_step = 0;
};
RunRecord read_run(const std::string& folder);

inline constexpr std::size_t kColours = 8;  // classes c0 to c7 of the page's style
struct Series {
  std::string label;
  Curve curve;
  std::size_t colour = 0;  // the same run, or the same place in a chart of one run, has one colour
};
struct Chart {
  std::string title;
  std::vector<Series> series;  // at least one, each with at least one point
  bool share = false;          // values are shares: per cent on the axis, from 0
};
// The charts of one run (a series per metric) or of several (a chart per metric, a series per run).
std::vector<Chart> charts_of(const std::vector<RunRecord>& runs);
// Inline SVG. Long curves are drawn as means of neighbouring steps inside the band of their extremes.
std::string chart_svg(const Chart& chart);
// What the page's script needs to show values under the pointer: {"share", "from", "to", "series": [{"label", "steps",
// "values"}]}.
Json chart_data(const Chart& chart);

// Text as HTML shows it, in elements and in quoted attributes.
std::string escape_html(std::string_view text);
// A number as people read it: four significant digits.
std::string show_number(double value);

}  // namespace grpo::inline GRPO_ABI
