// Prometheus' text format, for the textfile collector of its node exporter.
#include <fmt/format.h>
#include <grpo/metrics.h>

#include <cmath>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {
namespace {

// A metric's name allows ASCII letters, digits, '_' and ':'.
std::string prometheus_name(std::string_view metric) {
  std::string name = "grpo_";
  for (const char c : metric) {
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += allowed ? c : '_';
  }
  return name;
}

// A backslash before `special` characters; a newline as \n.
std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out;
}
constexpr std::string_view kInHelp = "\\", kInLabel = "\\\"";

std::string show(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

class PrometheusSink final : public MetricSink {
 public:
  PrometheusSink(std::string path, std::string_view run_name)
      : path_(std::move(path)), run_(escaped(run_name, kInLabel)) {}

  // A metric that this step has not keeps its last value: a series that comes and goes cannot be watched.
  void write(std::int64_t step, const Metrics& metrics) override {
    latest_["step"] = static_cast<double>(step);
    for (const auto& [name, value] : metrics) latest_[name] = value;
    std::map<std::string, Metrics> families;  // names that differ only in what a name may not have fall together
    for (const auto& [name, value] : latest_) families[prometheus_name(name)][name] = value;
    std::string text;
    for (const auto& [family, members] : families) {
      const std::string& first = members.begin()->first;
      text += fmt::format("# HELP {} {}\n# TYPE {} gauge\n", family, escaped(first, kInHelp), family);
      for (const auto& [name, value] : members) {
        const std::string metric = members.size() == 1 ? "" : fmt::format(",metric=\"{}\"", escaped(name, kInLabel));
        text += fmt::format("{}{{run=\"{}\"{}}} {}\n", family, run_, metric, show(value));
      }
    }
    write_file_atomic(path_, text, Synced::No);
  }

 private:
  std::string path_, run_;
  Metrics latest_;
};

}  // namespace

std::unique_ptr<MetricSink> prometheus_sink(const std::string& path, const std::string& run_name) {
  return std::make_unique<PrometheusSink>(path, run_name);
}

}  // namespace grpo::inline GRPO_ABI
