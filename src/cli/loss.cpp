#include <fmt/format.h>
#include <grpo/algo.h>

#include <cmath>
#include <limits>

#include "cli/commands.h"
#include "cli/json_lines.h"

namespace grpo::cli {
namespace {

// A ragged [B][T] list, flat; `offsets` is filled from the first such list and checked against all others.
std::vector<double> flat_values(const Json& row, const char* key, std::vector<std::int64_t>& offsets) {
  std::vector<double> values;
  const bool is_first = offsets.empty();
  if (is_first) offsets.push_back(0);
  std::size_t s = 0;
  for (const Json& sequence : row.at(key).as_list()) {
    for (const Json& value : sequence.as_list())
      values.push_back(value.is_bool() ? (value.as_bool() ? 1.0 : 0.0) : value.as_double());
    ++s;
    const auto end = static_cast<std::int64_t>(values.size());
    if (is_first) offsets.push_back(end);
    GRPO_CHECK(s < offsets.size() && offsets[s] == end, fmt::format("{}: expected the shape of \"logps\"", key));
  }
  GRPO_CHECK(s + 1 == offsets.size(),
             fmt::format("{}: expected {} sequences as in \"logps\", got {}", key, offsets.size() - 1, s));
  return values;
}

bool is_given(const Json& row, const char* key) {
  const Json* value = row.find(key);
  return value && !value->is_null();
}

// "advantages": [B], one for all of a sequence's tokens, or [B][T].
std::vector<double> token_advantages(const Json& row, std::vector<std::int64_t>& offsets) {
  const Json::List& list = row.at("advantages").as_list();
  if (list.empty() || list.front().is_list()) return flat_values(row, "advantages", offsets);
  GRPO_CHECK(list.size() + 1 == offsets.size(),
             fmt::format("advantages: expected {} values, got {}", offsets.size() - 1, list.size()));
  std::vector<double> values;
  for (std::size_t s = 0; s < list.size(); ++s)
    values.insert(values.end(), static_cast<std::size_t>(offsets[s + 1] - offsets[s]), list[s].as_double());
  return values;
}

void check_keys(const Json& row, std::initializer_list<const char*> known) {
  for (const auto& [key, value] : row.as_object()) {
    bool found = false;
    for (const char* name : known) found = found || key == name;
    std::string names;
    for (const char* name : known) names += names.empty() ? name : std::string(", ") + name;
    GRPO_CHECK(found, fmt::format("unknown key \"{}\"; expected some of {}", key, names));
  }
}

Json loss_of(const Json& row) {
  check_keys(row, {"logps", "old_logps", "ref_logps", "sampler_logps", "entropies", "mask", "advantages", "config",
                   "denominators"});
  std::vector<std::int64_t> offsets;
  const std::vector<double> logps = flat_values(row, "logps", offsets);
  std::vector<double> old_logps, ref_logps, sampler_logps, entropies;
  if (is_given(row, "old_logps")) old_logps = flat_values(row, "old_logps", offsets);
  if (is_given(row, "ref_logps")) ref_logps = flat_values(row, "ref_logps", offsets);
  if (is_given(row, "sampler_logps")) sampler_logps = flat_values(row, "sampler_logps", offsets);
  if (is_given(row, "entropies")) entropies = flat_values(row, "entropies", offsets);
  std::vector<std::uint8_t> mask(logps.size(), 1);
  if (is_given(row, "mask")) {
    const std::vector<double> given = flat_values(row, "mask", offsets);
    for (std::size_t i = 0; i < given.size(); ++i) mask[i] = given[i] != 0 ? 1 : 0;
  }
  const std::vector<double> advantage = token_advantages(row, offsets);
  const Json empty = Json::Object{};
  const LossConfig config = grpo_section_from_tree(is_given(row, "config") ? row.at("config") : empty).loss;
  Denominators denominators = count_denominators(mask, offsets);
  if (is_given(row, "denominators")) {
    const Json& given = row.at("denominators");
    check_keys(given, {"sequences", "tokens"});
    if (is_given(given, "sequences")) denominators.sequences = given.at("sequences").as_double();
    if (is_given(given, "tokens")) denominators.tokens = given.at("tokens").as_double();
  }
  const LossResult result = policy_loss({.logps = logps,
                                         .old_logps = old_logps,
                                         .ref_logps = ref_logps,
                                         .sampler_logps = sampler_logps,
                                         .entropies = entropies,
                                         .advantages = advantage,
                                         .mask = mask,
                                         .offsets = offsets},
                                        config, denominators);
  Json::List grad;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
    grad.push_back(Json(std::vector<double>(result.grad.begin() + offsets[s], result.grad.begin() + offsets[s + 1])));
  Json metrics = Json::Object{};
  for (const auto& [name, value] : finish_loss_metrics(result.sums)) metrics[name] = value;
  return Json::Object{{"loss", result.loss}, {"grad", grad}, {"metrics", metrics}};
}

Json advantages_of(const Json& row) {
  check_keys(row, {"rewards", "weights", "num_generations", "scale_rewards", "aggregation", "baseline", "ddof", "eps",
                   "missing"});
  std::vector<double> rewards;
  std::size_t num_rewards = 0;
  const Json::List& samples = row.at("rewards").as_list();
  for (const Json& sample : samples) {
    const Json::List& values = sample.as_list();
    if (num_rewards == 0) num_rewards = values.size();
    GRPO_CHECK(!values.empty() && values.size() == num_rewards,
               fmt::format("rewards: expected {} values per sample, got {}", num_rewards, values.size()));
    for (const Json& value : values)
      rewards.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.as_double());
  }
  std::vector<double> weights(num_rewards, 1.0);
  if (is_given(row, "weights")) {
    const Json::List& given = row.at("weights").as_list();
    GRPO_CHECK(given.size() == num_rewards,
               fmt::format("weights: expected {} values, got {}", num_rewards, given.size()));
    for (std::size_t k = 0; k < num_rewards; ++k) weights[k] = given[k].as_double();
  }
  Json section = Json::Object{};
  for (const char* key : {"num_generations", "scale_rewards", "aggregation", "baseline", "ddof", "eps"})
    if (is_given(row, key)) section[key] = row.at(key);
  const GrpoSection config = grpo_section_from_tree(section);
  std::vector<MissingReward> missing(num_rewards, MissingReward::Exclude);
  if (is_given(row, "missing")) {
    const std::string& name = row.at("missing").as_string();
    GRPO_CHECK(name == "exclude" || name == "center" || name == "zero",
               fmt::format("missing: expected exclude, center or zero, got \"{}\"", name));
    missing.assign(num_rewards, name == "exclude"  ? MissingReward::Exclude
                                : name == "center" ? MissingReward::Center
                                                   : MissingReward::Zero);
  }
  const auto group = static_cast<std::size_t>(config.num_generations);
  GRPO_CHECK(samples.size() % group == 0,
             fmt::format("rewards: {} samples are no multiple of num_generations {}", samples.size(), group));
  std::vector<std::int64_t> offsets;
  for (std::size_t i = 0; i <= samples.size(); i += group) offsets.push_back(static_cast<std::int64_t>(i));
  const AdvantageResult result = advantages({.rewards = rewards,
                                             .num_rewards = num_rewards,
                                             .weights = weights,
                                             .missing = missing,
                                             .group_offsets = offsets},
                                            config.advantage);
  Json metrics = Json::Object{};
  for (const auto& [name, value] : result.metrics) metrics[name] = value;
  Json::List included;
  for (std::uint8_t flag : result.included) included.push_back(flag != 0);
  return Json::Object{{"advantages", result.advantages}, {"included", included}, {"metrics", metrics}};
}

void add_rows_command(CLI::App& app, int& exit_code, const char* name, const char* text, Json (*answer)(const Json&)) {
  auto keep_going = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(name, text);
  command->add_flag(kKeepGoing, *keep_going, kKeepGoingHelp);
  command->callback([keep_going, answer, &exit_code] { exit_code = answer_rows(*keep_going, answer); });
}

}  // namespace

void add_loss(CLI::App& app, int& exit_code) {
  add_rows_command(app, exit_code, "loss",
                   "{\"logps\", \"old_logps\", \"ref_logps\", \"mask\", \"advantages\", \"config\"} lines to "
                   "{\"loss\", \"grad\", \"metrics\"}",
                   loss_of);
}

void add_advantages(CLI::App& app, int& exit_code) {
  add_rows_command(app, exit_code, "advantages",
                   "{\"rewards\", \"weights\", \"num_generations\", ...} lines to {\"advantages\", \"metrics\"}",
                   advantages_of);
}

}  // namespace grpo::cli
