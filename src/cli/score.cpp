#include <fmt/format.h>
#include <grpo/reward.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/json_lines.h"
#include "reward/configured.h"

namespace grpo::cli {
namespace {

struct Options {
  std::string config;
  bool summary = false, keep_going = false;
};

using Input = std::shared_ptr<const RewardInput::Data>;

// The mapped column, or the literal name when the mapping does not match.
const Json* find_column(const Json& row, const std::string& mapped, const char* literal) {
  const Json* value = row.find(mapped);
  return value ? value : row.find(literal);
}

std::string as_text(const Json& value) { return value.is_string() ? value.as_string() : value.dump(); }

Input input_of(const Json& row, const RunConfig& config, ThinkMode think_mode) {
  auto data = std::make_shared<RewardInput::Data>();
  data->completion = row.at("completion").as_string();
  if (const Json* answer = find_column(row, config.data.answer, "answer"); answer && !answer->is_null())
    data->reference = as_text(*answer);
  if (const Json* prompt = find_column(row, config.data.prompt, "prompt"); prompt && !prompt->is_null())
    data->prompt = as_text(*prompt);
  if (const Json* messages = find_column(row, config.data.messages, "messages"); messages && !messages->is_null())
    for (const Json& message : messages->as_list())
      data->messages.push_back({message.at("role").as_string(), message.at("content").as_string()});
  if (data->prompt.empty() && !data->messages.empty()) data->prompt = data->messages.back().content;
  if (const Json* reason = row.find("finish_reason")) data->finish_reason = finish_reason_from(reason->as_string());
  if (const Json* ids = row.find("completion_ids"))
    for (const Json& id : ids->as_list()) data->token_ids.push_back(static_cast<std::int32_t>(id.as_int()));
  data->columns = row;
  data->think_mode = think_mode;
  return data;
}

Json score_line(const RewardSet& rewards, const std::vector<Verdict>& verdicts, double total) {
  Json scores = Json::Object{}, codes = Json::Object{}, reasons = Json::Object{};
  for (std::size_t k = 0; k < verdicts.size(); ++k) {
    const std::string name(rewards.name(k));
    scores[name] = verdicts[k].score;
    codes[name] = verdicts[k].verdict;
    reasons[name] = verdicts[k].why;
  }
  return Json::Object{{"rewards", scores}, {"total", total}, {"verdict", codes}, {"why", reasons}};
}

void print_summary(const RewardSet& rewards, const std::vector<std::vector<double>>& columns) {
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    double sum = 0;
    std::size_t n = 0;
    for (double score : columns[k])
      if (!std::isnan(score)) {
        sum += score;
        ++n;
      }
    const std::string name(rewards.name(k));
    const auto timings = rewards.timings();
    const auto timing = timings.find(name);
    log::info(fmt::format("{}: {} scored, {} missing, mean {:.4f}{}", name, n, columns[k].size() - n,
                          n > 0 ? sum / static_cast<double>(n) : 0.0,
                          timing == timings.end()
                              ? ""
                              : fmt::format(", {:.3f} s in all, slowest row {} with {:.4f} s", timing->second.total_s,
                                            timing->second.slowest_sample, timing->second.slowest_s)));
  }
}

int score(const Options& options) {
  const RunConfig config = load_config(options.config, {}, Command::Score);
  RewardSet rewards = configured_rewards(config, std::max(1, config.threads));
  std::vector<InputRow> rows = read_rows(options.keep_going);
  // Equal consecutive `group` values form a group; a row without one stands alone.
  std::vector<std::vector<Input>> groups;
  std::vector<std::vector<std::size_t>> members;
  const Json* last_group = nullptr;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].error.empty()) continue;
    try {
      Input input = input_of(rows[r].row, config, rewards.think_mode());
      const Json* group = rows[r].row.find("group");
      if (groups.empty() || !group || !last_group || !(*group == *last_group)) {
        groups.emplace_back();
        members.emplace_back();
      }
      last_group = group;
      groups.back().push_back(std::move(input));
      members.back().push_back(r);
    } catch (const Error& error) {
      if (!options.keep_going || error.kind() != ErrorKind::User) throw;
      rows[r].error = error.what();
    }
  }
  const std::vector<GroupScores> scores = rewards.score(groups, !options.keep_going);
  std::vector<Json> lines(rows.size());
  std::vector<std::vector<double>> columns(rewards.size());
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (std::size_t i = 0; i < members[g].size(); ++i) {
      lines[members[g][i]] = score_line(rewards, scores[g].verdicts[i], scores[g].totals[i]);
      for (std::size_t k = 0; k < rewards.size(); ++k) columns[k].push_back(scores[g].verdicts[i][k].score);
    }
  int exit_code = kDone;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].error.empty()) {
      lines[r] = Json::Object{{"error", rows[r].error}};
      exit_code = kUserError;
    }
    write_line(lines[r]);
  }
  if (options.summary) print_summary(rewards, columns);
  return exit_code;
}

}  // namespace

void add_score(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("score", "{\"completion\", \"answer\", ...} lines to their rewards, with reasons");
  command->add_option("config", options->config, "run config; only its rewards and data mapping are used")->required();
  command->add_flag("--summary", options->summary, "means, missing rows and the slowest row of each reward, on stderr");
  command->add_flag(kKeepGoing, options->keep_going, kKeepGoingHelp);
  command->callback([options, &exit_code] { exit_code = score(*options); });
}

}  // namespace grpo::cli
