#include <fmt/format.h>
#include <grpo/metrics.h>

#include <algorithm>
#include <map>

#include "base/files.h"
#include "metrics/report.h"
#include "metrics/report_page.h"

namespace grpo::inline GRPO_ABI {
namespace {

double sum_of(const Curve* curve) {
  double sum = 0;
  if (curve != nullptr)
    for (const auto& [step, value] : *curve) sum += value;
  return sum;
}

// "7 min 3 s"
std::string show_seconds(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

std::string tile(std::string_view title, std::string_view value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", title, value);
}

// Mean of the first and of the last twentieth of a curve: one step says little.
std::string show_change(const Curve& curve, bool share) {
  const std::size_t count = std::max<std::size_t>(1, curve.size() / 20);
  double first = 0, last = 0;
  for (std::size_t i = 0; i < count; ++i) {
    first += curve[i].second / static_cast<double>(count);
    last += curve[curve.size() - 1 - i].second / static_cast<double>(count);
  }
  const auto show = [&](double value) {
    return share ? fmt::format("{:.1f} %", 100 * value) : fmt::format("{:.3g}", value);
  };
  return curve.size() == 1 ? show(first) : show(first) + " → " + show(last);
}

std::string tiles(const RunRecord& run) {
  std::string html;
  if (const Curve* reward = run.find("reward")) html += tile("reward", show_change(*reward, false));
  for (const auto& [name, curve] : run.metrics) {
    if (name == "rewards/accuracy/mean") html += tile("right answers", show_change(curve, true));
    if (name == "eval_rewards/accuracy/mean") html += tile("right, held out", show_change(curve, true));
    if (name == "completions/mean_length") html += tile("answer length", show_change(curve, false));
  }
  if (const Curve* loss = run.find("loss"); loss != nullptr && run.find("reward") == nullptr)
    html += tile("loss", show_change(*loss, false));
  const Json* most = run.config.find("max_steps");
  html += tile("steps", most != nullptr && most->is_int() && most->as_int() > 0
                            ? fmt::format("{} of {}", run.last_step, most->as_int())
                            : std::to_string(run.last_step));
  if (const Curve* times = run.find("step_time")) html += tile("time in steps", show_seconds(sum_of(times)));
  if (const Curve* tokens = run.find("num_tokens"))
    html += tile("tokens", fmt::format("{:.3g} M", tokens->back().second / 1e6));
  return "<dl class=\"tiles\">" + html + "</dl>";
}

// Tags that a format asks for stand out. `html` is escaped text.
std::string mark_tags(std::string html) {
  for (const char* tag : {"think", "answer"})
    for (const char* slash : {"", "/"}) {
      const std::string from = fmt::format("&lt;{}{}&gt;", slash, tag);
      const std::string to = fmt::format("<b class=\"{}\">{}</b>", tag, from);
      for (std::size_t at = html.find(from); at != std::string::npos; at = html.find(from, at + to.size()))
        html.replace(at, from.size(), to);
    }
  return html;
}

std::string text_of(const Json& row, std::string_view key) {
  const Json* value = row.find(key);
  if (value == nullptr || value->is_null()) return {};
  return value->is_string() ? value->as_string() : value->dump();
}

// row[key][name]
std::string text_of(const Json& row, std::string_view key, std::string_view name) {
  const Json* object = row.find(key);
  return object != nullptr ? text_of(*object, name) : std::string();
}

std::string sample(const Json& row) {
  std::string facts;
  if (const Json* rewards = row.find("rewards"); rewards != nullptr && rewards->is_object())
    for (const auto& [name, value] : rewards->as_object())
      facts += fmt::format("<span>{} <b>{}</b> {} <i>{}</i></span>", escape_html(name),
                           value.is_number() ? show_number(value.as_double()) : "none",
                           escape_html(text_of(row, "verdict", name)), escape_html(text_of(row, "why", name)));
  if (const Json* advantage = row.find("advantage"); advantage != nullptr && advantage->is_number())
    facts += fmt::format("<span>advantage <b class=\"{}\">{:+.3g}</b></span>",
                         advantage->as_double() < 0 ? "bad" : "good", advantage->as_double());
  facts += fmt::format("<span>{} tokens, {}</span>", escape_html(text_of(row, "num_tokens")),
                       escape_html(text_of(row, "finish_reason")));
  return fmt::format("<article><pre>{}</pre><p class=\"facts\">{}</p></article>",
                     mark_tags(escape_html(text_of(row, "completion"))), facts);
}

// Of each step shown, the first prompts with their first answers.
std::string samples(const RunRecord& run) {
  constexpr int kPrompts = 2, kAnswers = 3;
  std::string html;
  std::int64_t step = -1;
  std::string prompt;
  int prompts = 0, answers = 0;
  for (const Json& row : run.samples) {
    const std::string text = text_of(row, "prompt");
    if (const std::int64_t here = row.at("step").as_int(); here != step) {
      step = here;
      prompts = 0;
      prompt.clear();
      html += fmt::format("<h3>Step {}</h3>", step);
    }
    if (prompts == 0 || text != prompt) {
      ++prompts;
      answers = 0;
      prompt = text;
      if (prompts <= kPrompts) html += fmt::format("<pre class=\"prompt\">{}</pre>", escape_html(text));
    }
    if (prompts <= kPrompts && ++answers <= kAnswers) html += sample(row);
  }
  return html;
}

// Every metric with its first and last value, smallest and largest.
std::string metric_table(const RunRecord& run) {
  std::string html = "<table><tr><th>metric<th>first<th>last<th>smallest<th>largest</tr>";
  for (const auto& [name, curve] : run.metrics) {
    const auto by_value = [](const auto& a, const auto& b) { return a.second < b.second; };
    const auto [low, high] = std::minmax_element(curve.begin(), curve.end(), by_value);
    html += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>", escape_html(name), show_number(curve.front().second),
                        show_number(curve.back().second), show_number(low->second), show_number(high->second));
  }
  return html + "</table>";
}

void flatten(const Json& tree, const std::string& path, std::map<std::string, std::string>& leaves) {
  if (tree.is_object() && tree.size() > 0)
    for (const auto& [key, value] : tree.as_object()) flatten(value, path.empty() ? key : path + "." + key, leaves);
  else
    leaves[path] = tree.is_string() ? tree.as_string() : tree.dump();
}

// Sizes in GiB, everything else as it is.
std::string environment_table(const RunRecord& run) {
  std::map<std::string, std::string> leaves;
  flatten(run.environment, "", leaves);
  std::string html = "<table>";
  for (const auto& [name, text] : leaves) {
    const Json* value = run.environment.find(name);
    const bool is_size = name.ends_with("_bytes") && value != nullptr && value->is_number();
    html += fmt::format("<tr><td>{}<td>{}</tr>", escape_html(name),
                        is_size ? fmt::format("{:.1f} GiB", value->as_double() / (1 << 30)) : escape_html(text));
  }
  return html + "</table>";
}

// Fields in which the runs differ, a column per run.
std::string config_differences(const std::vector<RunRecord>& runs) {
  std::vector<std::map<std::string, std::string>> leaves(runs.size());
  std::map<std::string, bool> differs;
  for (std::size_t r = 0; r < runs.size(); ++r) flatten(runs[r].config, "", leaves[r]);
  for (const auto& run : leaves)
    for (const auto& [path, text] : run)
      for (const auto& other : leaves) {
        const auto found = other.find(path);
        if (found == other.end() || found->second != text) differs[path] = true;
      }
  if (differs.empty()) return "<p>All runs have the same configuration.</p>";
  std::string html = "<table><tr><th>field";
  for (const RunRecord& run : runs) html += "<th>" + escape_html(run.name);
  for (const auto& [path, differ] : differs) {
    html += "<tr><td>" + escape_html(path);
    for (const auto& run : leaves) {
      const auto found = run.find(path);
      html += "<td>" + (found == run.end() ? std::string("–") : escape_html(found->second));
    }
  }
  return html + "</table>";
}

std::string figure(const Chart& chart) {
  std::string legend;
  for (const Series& series : chart.series)
    legend += fmt::format("<span class=\"c{}\"><i></i>{}</span>", series.colour % kColours, escape_html(series.label));
  return fmt::format("<figure><figcaption><b>{}</b>{}</figcaption>{}<output hidden></output></figure>",
                     escape_html(chart.title), legend, chart_svg(chart));
}

// JSON that cannot end the script element it stands in.
std::string script_json(const Json& json) {
  std::string text = json.dump();
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at))
    text.replace(at, 1, "\\u003c");
  return text;
}

// Runs of one name get their folders' names in brackets.
void tell_apart(std::vector<RunRecord>& runs) {
  std::map<std::string, int> count;
  for (const RunRecord& run : runs) ++count[run.name];
  for (RunRecord& run : runs)
    if (count[run.name] > 1) run.name += " (" + run.folder + ")";
}

}  // namespace

void write_report(const std::vector<std::string>& folders, const std::string& path) {
  GRPO_CHECK(!folders.empty(), "report: expected the folder of at least one run");
  std::vector<RunRecord> runs;
  runs.reserve(folders.size());
  for (const std::string& folder : folders) runs.push_back(read_run(folder));
  tell_apart(runs);

  std::string title, body, figures;
  Json data = Json::List{};
  for (const RunRecord& run : runs) {
    title += (title.empty() ? "" : ", ") + run.name;
    body += runs.size() == 1 ? tiles(run) : fmt::format("<h2>{}</h2>{}", escape_html(run.name), tiles(run));
  }
  for (const Chart& chart : charts_of(runs)) {
    figures += figure(chart);
    data.push_back(chart_data(chart));
  }
  body += "<section class=\"charts\">" + figures + "</section>";
  if (runs.size() > 1) body += "<h2>What differs in their configuration</h2>" + config_differences(runs);
  for (const RunRecord& run : runs) {
    const std::string of = runs.size() == 1 ? "" : " of " + escape_html(run.name);
    if (!run.samples.empty()) body += fmt::format("<h2>Answers{}</h2>{}", of, samples(run));
    body += fmt::format("<details><summary>All metrics{}</summary>{}</details>", of, metric_table(run));
    if (!run.environment.is_null())
      body += fmt::format("<details><summary>Environment{}</summary>{}</details>", of, environment_table(run));
    if (!run.config_text.empty())
      body += fmt::format("<details><summary>Configuration{}</summary><pre>{}</pre></details>", of,
                          escape_html(run.config_text));
  }
  write_file_atomic(path, report_page(escape_html(title), body, script_json(data)));
}

}  // namespace grpo::inline GRPO_ABI
