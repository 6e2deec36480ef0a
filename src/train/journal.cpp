#include "train/journal.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <gnu/libc-version.h>

#include <array>
#include <filesystem>

#include "base/files.h"
#include "base/log.h"
#include "model/run_checkpoint.h"
#include "train/group_frame.h"

namespace grpo::inline GRPO_ABI {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "grpo rollout 1\n";  // then the checksum of what follows, then that
constexpr std::size_t kHeadBytes = kMagic.size() + 16;

constexpr std::array kFailureCounts = {&RewardFailureCounts::scored,         &RewardFailureCounts::missing,
                                       &RewardFailureCounts::thrown,         &RewardFailureCounts::timed_out,
                                       &RewardFailureCounts::infrastructure, &RewardFailureCounts::out_of_range};

// The bits of a model's weights.
std::string weights_checksum(const CausalLM& model) {
  std::string all;
  for (const Parameter* parameter : model.parameters()) {
    const at::Tensor& master = parameter->master;
    all += checksum_hex({static_cast<const std::byte*>(master.const_data_ptr()), master.nbytes()});
  }
  return checksum_hex(all);
}

}  // namespace

Json reward_names(const RewardSet& rewards) {
  Json names = Json::List{};
  for (std::size_t k = 0; k < rewards.size(); ++k) names.push_back(rewards.name(k));
  return names;
}

std::vector<RewardFailureCounts> failures_since(const std::map<std::string, RewardFailureCounts>& before,
                                                const RewardSet& rewards, Communicator& communicator) {
  const std::map<std::string, RewardFailureCounts> now = rewards.failures();
  std::vector<double> sums;  // exact: all are small integers
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    const std::string name(rewards.name(k));
    for (const auto count : kFailureCounts)
      sums.push_back(static_cast<double>(now.at(name).*count - before.at(name).*count));
  }
  communicator.all_reduce(std::span<double>(sums));
  std::vector<RewardFailureCounts> since(rewards.size());
  for (std::size_t i = 0; i < sums.size(); ++i)
    since[i / kFailureCounts.size()].*kFailureCounts[i % kFailureCounts.size()] = static_cast<std::int64_t>(sums[i]);
  return since;
}

void save_rollout(const std::string& path, const Rollout& rollout) {
  FrameWriter out;
  out.text(rollout.address.dump());
  out.number(rollout.groups.size());
  for (const RolloutGroup& group : rollout.groups) {
    out.number(group.prompt.row);
    out.array(std::span<const std::int32_t>(group.prompt.ids));
    write_group(out, group);
  }
  out.number(rollout.failures.size());
  for (const RewardFailureCounts& counts : rollout.failures)
    for (const auto count : kFailureCounts) out.number(static_cast<std::uint64_t>(counts.*count));
  AtomicFile file(path);
  file.write(kMagic);
  file.write(checksum_hex(out.frame()));
  file.write(out.frame());
  file.commit();
}

Rollout load_rollout(const std::string& path) {
  const std::string bytes = read_file(path);
  GRPO_CHECK(bytes.starts_with(kMagic) && bytes.size() >= kHeadBytes, path + ": damaged: expected a rollout");
  const std::string_view frame = std::string_view(bytes).substr(kHeadBytes);
  const std::string expected = bytes.substr(kMagic.size(), 16), actual = checksum_hex(frame);
  GRPO_CHECK(actual == expected, fmt::format("{}: damaged: expected checksum {}, got {}", path, expected, actual));
  FrameReader in(frame);
  Rollout rollout;
  rollout.address = parse_json(in.text(), {.source = path});
  rollout.groups.resize(in.number());
  for (RolloutGroup& group : rollout.groups) {
    group.weights_version = rollout.step();
    group.prompt.row = in.number();
    group.prompt.ids = in.array<std::int32_t>();
    read_group(in, group);
  }
  rollout.failures.resize(in.number());
  for (RewardFailureCounts& counts : rollout.failures)
    for (const auto count : kFailureCounts) counts.*count = static_cast<std::int64_t>(in.number());
  return rollout;
}

Json Journal::address(std::int64_t step, const CausalLM& model, const RewardSet& rewards) const {
  return Json::Object{{"step", step},
                      {"run", run_},
                      {"weights", weights_checksum(model)},
                      {"arithmetic", fmt::format("{}, libc {}", isa_name(), gnu_get_libc_version())},
                      {"rewards", reward_names(rewards)}};
}

// By the first step that it serves, counted from 1 as everywhere in a run's folder.
std::string Journal::path_of(std::int64_t step) const { return fmt::format("{}/step-{}", folder_, step + 1); }

bool Journal::holds(const Json& address) const {
  const std::string path = path_of(address.at("step").as_int());
  if (!fs::exists(path)) return false;
  try {
    if (load_rollout(path).address == address) return true;
  } catch (const Error& error) {
    throw Error(fmt::format("{}; without this file the rollout is sampled and scored again", error.what()));
  }
  log::info(fmt::format("{}: made by other weights, config, rows or arithmetic: sampled again", path));
  return false;
}

std::optional<Rollout> Journal::find(const Json& address) const {
  std::byte found{communicator_->rank() == 0 && holds(address)};
  communicator_->broadcast(std::span(&found, 1), 0);
  if (found == std::byte{0}) return std::nullopt;
  return load_rollout(path_of(address.at("step").as_int()));
}

void Journal::write(const Rollout& rollout) const {
  if (communicator_->rank() != 0) return;
  ensure_directory(folder_);
  save_rollout(path_of(rollout.step()), rollout);
}

void Journal::forget(std::int64_t step) const {
  if (communicator_->rank() != 0 || !fs::is_directory(folder_)) return;
  std::vector<fs::path> covered;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (const auto first = step_in_name(entry.path().filename()); first && *first <= step)
      covered.push_back(entry.path());
  for (const fs::path& path : covered) fs::remove(path);
}

}  // namespace grpo::inline GRPO_ABI
