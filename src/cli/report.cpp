#include <grpo/json.h>
#include <grpo/metrics.h>

#include <filesystem>

#include "cli/commands.h"
#include "cli/json_lines.h"

namespace grpo::cli {

void add_report(CLI::App& app, int& /*exit_code*/) {
  struct Options {
    std::vector<std::string> folders;
    std::string out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "report", "one HTML page of a run, or of several side by side: curves, answers, configuration. Needs no network");
  command->add_option("run", options->folders, "folders of runs")->required();
  command->add_option("-o,--out", options->out, "where the page goes (default: report.html in the first folder)");
  command->callback([options] {
    const std::string path = options->out.empty()
                                 ? (std::filesystem::path(options->folders.front()) / "report.html").string()
                                 : options->out;
    write_report(options->folders, path);
    Json line;
    line["report"] = path;
    write_line(line);
  });
}

}  // namespace grpo::cli
