#include <ATen/core/Tensor.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>

#include "base/config_rules.h"
#include "base/files.h"
#include "base/log.h"
#include "base/memory.h"
#include "dist/launcher.h"
#include "metrics/console.h"
#include "metrics/trace.h"
#include "model/run_checkpoint.h"
#include "ops/pool.h"
#include "reward/configured.h"
#include "train/checkpoint.h"
#include "train/config_check.h"
#include "train/environment.h"
#include "train/plan.h"
#include "train/run_folder.h"
#include "train/stage.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::atomic<bool> stop_requested{false};

// Every rank has the same config and the same rows.
void check_same_run(const RunConfig& config, Communicator& communicator) {
  if (communicator.size() == 1) return;
  std::vector<std::pair<std::string, std::string>> parts = {{"configs", checksum_hex(to_yaml(config_to_tree(config)))}};
  const Json data = data_checksums(config);
  for (const auto& [field, checksum] : data.as_object()) parts.emplace_back("rows in " + field, checksum.as_string());
  for (const auto& [what, mine] : parts) {
    const std::vector<std::string> all = communicator.all_gather(mine);
    for (std::size_t rank = 0; rank < all.size(); ++rank)
      GRPO_CHECK(all[rank] == all[0],
                 fmt::format("ranks 0 and {} have different {} (checksums {} and {})", rank, what, all[0], all[rank]));
  }
}

// What fails on one rank fails on all.
template <class Work>
auto together(Communicator& communicator, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const Error& error) {
    communicator.fail(error);
    throw;
  } catch (const std::exception& error) {
    communicator.fail(Error(error.what(), ErrorKind::Internal));
    throw;
  }
}

RunConfig checked(RunConfig config, Communicator& communicator) {
  check_rules(config, Command::Train, nullptr, RewardsFrom::FileOrCode);
  GRPO_CHECK(config.device != "cuda", "device: this version trains on the CPU only; expected auto or cpu, got cuda");
  set_threads(communicator.size() == 1 ? config.threads : threads_of_rank(communicator, config.threads));
  check_memory(config, load_model_config(resolve_model_path(config.model.path)), communicator.size(),
               available_memory(communicator.local_size()));
  communicator.set_deadline(config.distributed.timeout_s);
  check_same_run(config, communicator);
  return config;
}

}  // namespace

struct Trainer::Impl {
  Impl(RunConfig config_in, std::shared_ptr<Communicator> ranks_in)
      : ranks(std::move(ranks_in)),
        communicator(*ranks),
        config(checked(std::move(config_in), communicator)),
        policy(CausalLM::load(resolve_model_path(config.model.path), {.dtype = config.model.dtype, .trainable = true})),
        tokenizer(Tokenizer::load(
            resolve_model_path(config.model.tokenizer.empty() ? config.model.path : config.model.tokenizer))),
        rewards(configured_rewards(config, num_threads())),
        optimizer(policy.parameters(), config.optimizer, config.max_steps, &communicator) {
    check_vocabulary(policy.config(), tokenizer);
    if (communicator.size() > 1)
      log::info(fmt::format("{} ranks of {} threads; rank 0 keeps {} KiB of the optimiser's state", communicator.size(),
                            num_threads(), optimizer.state_bytes() >> 10));
  }

  StageContext context() { return {config, communicator, policy, tokenizer, rewards, optimizer, phases}; }
  bool writes_files() const { return communicator.rank() == 0; }

  // Made at first use, when the program's own rewards have been added.
  Stage& stage() {
    if (!stage_) {
      GRPO_CHECK(config.kind == RunKind::Sft || rewards.size() > 0, "rewards: expected at least one, got none");
      stage_ = config.kind == RunKind::Grpo ? make_grpo_stage(context()) : make_sft_stage(context());
      stage_->on_rollout = [this](const RolloutReport& report) {
        if (folder) log_rollout(report);
        if (on_rollout) on_rollout(report);
      };
    }
    return *stage_;
  }

  void log_rollout(const RolloutReport& report) {
    std::vector<std::string> names;
    for (std::size_t k = 0; k < rewards.size(); ++k) names.emplace_back(rewards.name(k));
    if (config.log_completions == 0) return;
    for (const RolloutGroup& group : *report.groups)
      folder->log_completions(report.step + 1, group, names, config.log_completions);
  }

  Metrics step() {
    stage();  // its complaints are not about a step
    GRPO_CHECK(course != Course::Failed,
               "step: the one before failed half-way; make a new Trainer, and run(Start::Resume) "
               "goes on from its last checkpoint");
    course = Course::Failed;  // until the step is whole
    const std::int64_t step_index = optimizer.steps_done();
    try {
      Metrics metrics = step(step_index);
      course = Course::Stepping;
      return metrics;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::Guard) throw;
      throw Error(fmt::format("step {}: {}", step_index + 1, error.what()), ErrorKind::Guard);
    }
  }

  Metrics step(std::int64_t step_index) {
    const auto start = std::chrono::steady_clock::now();
    communicator.set_place(fmt::format("step {}", step_index + 1));
    Metrics metrics = stage().accumulate(step_index);
    const Optimizer::Report report = update_weights(step_index);
    metrics["grad_norm"] = report.grad_norm;
    metrics["learning_rate"] = report.learning_rate;
    metrics["step_time"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    metrics.merge(phases.take_metrics());
    return metrics;
  }

  Optimizer::Report update_weights(std::int64_t step_index) {
    const Phase phase(&phases, "optimizer");
    const Optimizer::Report report = optimizer.step();
    stage().stepped(step_index);
    return report;
  }

  void load_evaluation() {
    GRPO_CHECK(!config.eval.data.empty(), "eval.data: expected a JSONL file, got none");
    GRPO_CHECK(rewards.size() > 0, "rewards: expected at least one for eval.data, got none");
    if (!eval_prompts)
      eval_prompts = load_prompts(context().player(), config.data, Dataset::load(config.eval.data),
                                  config.grpo.loss.max_completion_length, config.eval.max_prompts);
  }

  Metrics evaluate() {
    load_evaluation();
    const Phase phase(&phases, "evaluation");
    SampleAndScore request;
    for (const Prompt& prompt : eval_prompts->prompts) request.prompts.push_back(&prompt);
    request.num_generations = config.eval.num_generations;
    request.sampling.temperature = config.eval.temperature;
    request.sampling.max_new_tokens = config.grpo.loss.max_completion_length;
    request.sampling.stop = config.grpo.stop;
    if (config.grpo.cache_tokens > 0) request.sampling.cache_tokens = config.grpo.cache_tokens;
    request.seed = config.seed;
    request.stage = kStageEval;
    request.step = optimizer.steps_done();
    request.is_evaluation = true;
    return rollout_metrics(sample_and_score(context().player(), request), rewards, request.step, "eval_");
  }

  void save() {
    const Phase phase(&phases, "checkpoint");
    const std::int64_t step_count = optimizer.steps_done();
    const bool is_there = saved == step_count;  // what was unfinished is made up for
    saved = step_count;
    if (!folder) {
      if (!is_there) optimizer.each_state([](const auto&, const auto&) {});  // rank 0 gathers it
      return;
    }
    folder->sync_records();
    const std::string path = checkpoint_path(folder->path(), step_count);
    const CheckpointState state{step_count, stage().state(), best, unfinished};
    if (is_there) {
      update_checkpoint(path, state);
    } else {
      save_checkpoint(path, state, policy, tokenizer, optimizer, stage().reference(), stage().rollout_in_flight());
    }
    tidy();
  }

  // What the newest checkpoint makes needless goes when that one is on the disk, never before.
  void tidy() {
    journal->forget(optimizer.steps_done());
    write_best(folder->path(), best);
    prune_checkpoints(folder->path(), config.keep_checkpoints, best);
  }

  void resume() {
    std::int64_t last = folder ? newest_checkpoint(folder->path()).value_or(-1) : -1;  // -1: none
    communicator.broadcast(std::as_writable_bytes(std::span(&last, 1)), 0);
    if (last >= 0) {
      LoadedCheckpoint loaded =
          load_checkpoint(checkpoint_path(RunFolder::path_of(config), last), policy, optimizer, stage().reference());
      stage().restore(loaded.state.stage, std::move(loaded.in_flight));
      if (loaded.state.best && loaded.state.best->metric == config.eval.best) best = loaded.state.best;
      unfinished = loaded.state.unfinished;
    }
    if (!folder) return;
    folder->truncate_records(std::max<std::int64_t>(last, 0));
    if (unfinished) folder->truncate_metrics(last - 1);  // its row is still to come
    tidy();
    log::info(last >= 0 ? fmt::format("resuming after step {}", last)
                        : std::string("no checkpoint yet: starting anew"));
  }

  // Asked of any rank, it holds for all.
  bool is_stop_requested() {
    double asked = stop_requested ? 1 : 0;
    communicator.all_reduce(std::span<double>(&asked, 1), Reduce::Max);
    return asked > 0;
  }

  // An evaluation that fails does not cost the training before it: --resume makes up for it.
  void add_evaluation(Metrics& metrics) {
    try {
      metrics.merge(evaluate());
      metrics.merge(phases.take_metrics());
    } catch (const Error&) {
      unfinished = metrics;
      if (communicator.size() == 1) save();
      throw;
    }
    unfinished.reset();
  }

  // True when the step's evaluation is better than all before.
  bool is_best_yet(const Metrics& metrics) {
    if (config.eval.best.empty()) return false;
    const bool less_is_better = config.eval.best[0] == '-';
    const double value = metrics.at(config.eval.best.substr(less_is_better ? 1 : 0));
    const bool improves = !best || (less_is_better ? value < best->value : value > best->value);
    if (std::isnan(value) || !improves) return false;
    best = {optimizer.steps_done(), config.eval.best, value};
    return true;
  }

  // What follows an optimiser step: evaluation, records, checkpoint.
  void finish_step(Metrics metrics) {
    const std::int64_t done = optimizer.steps_done();
    const bool is_last = done == config.max_steps;
    bool is_due = unfinished || (config.save_every > 0 && done % config.save_every == 0);
    if (!config.eval.data.empty() && (is_last || (config.eval.every > 0 && done % config.eval.every == 0))) {
      add_evaluation(metrics);
      is_due |= is_best_yet(metrics);
    }
    for (auto& sink : own_sinks) sink->write(done, metrics);
    for (auto& sink : sinks) sink->write(done, metrics);
    if (on_step) on_step({done, &metrics});
    if (is_due) save();
  }

  void open_folder(Start start, const std::vector<std::string>& allow) {
    const Json data = data_checksums(config);
    if (writes_files()) folder.emplace(config, start == Start::Resume);
    if (folder && start == Start::Resume) folder->check_config(config, data, allow);
    journal.emplace(RunFolder::path_of(config) + "/rollouts",
                    checksum_hex(config_checksum(config_to_tree(config)) + data.dump()), communicator);
    stage().journal = &*journal;
    if (start == Start::Resume) resume();
    saved = optimizer.steps_done();
    if (!folder) return;
    folder->save_config(config, data);
    own_sinks.push_back(jsonl_sink(folder->file("metrics.jsonl")));
    save_environment();
    if (config.trace) trace_phases();
    own_sinks.push_back(tensorboard_sink(folder->path()));
    own_sinks.push_back(prometheus_sink(folder->file("metrics.prom"), config.name));
    own_sinks.push_back(console_sink(config.name, config.max_steps, optimizer.steps_done(), phases));
  }

  void run(Start start, const std::vector<std::string>& allow) {
    GRPO_CHECK(start != Start::Resume || course == Course::Unstarted,
               "run: this Trainer has taken steps already; make a new one for Start::Resume");
    stage();  // bad data is an error before the folder exists
    if (!config.eval.data.empty()) load_evaluation();
    check_best_metric();
    const RunEnd end{*this};
    open_folder(start, allow);
    if (unfinished) finish_step(*unfinished);
    bool stopped = is_stop_requested();
    while (optimizer.steps_done() < config.max_steps && !stopped) {
      finish_step(step());
      stopped = is_stop_requested();
    }
    if (saved == optimizer.steps_done()) return;
    save();
    communicator.barrier();  // rank 0 writes; if it cannot, all ranks say so
  }

  // Known before the first evaluation: what one without answers has.
  void check_best_metric() const {
    if (config.eval.best.empty()) return;
    const std::string metric = config.eval.best.substr(config.eval.best[0] == '-' ? 1 : 0);
    const Metrics known = rollout_metrics({}, rewards, 0, "eval_");
    std::string names;
    for (const auto& [name, value] : known) names += (names.empty() ? "" : ", ") + name;
    GRPO_CHECK(known.contains(metric), fmt::format("eval.best: expected one of {}, got {}", names, metric));
  }

  void save_environment() const {
    Json now = environment();
    now["ranks"] = communicator.size();
    now["recompute"] = policy.recompute();
    now["started"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
    write_file_atomic(folder->file("environment.json"), now.dump(2) + "\n");
  }

  void trace_phases() {
    auto trace = std::make_shared<TraceFile>(folder->file("trace.json"), communicator.rank());
    phases.on_span([trace](const Phases::Span& span) { trace->write(span); });
  }

  // A page that cannot be written costs no run.
  void report() const {
    try {
      if (std::filesystem::exists(folder->file("metrics.jsonl")))
        write_report({folder->path()}, folder->file("report.html"));
    } catch (const std::exception& error) {
      log::warn(fmt::format("no report: {}", error.what()));
    }
  }

  // However run() ends, there is a report, the folder is free for others and a request to stop is answered.
  struct RunEnd {
    Impl& impl;
    ~RunEnd() {
      if (impl.folder) impl.report();
      if (impl.stage_) impl.stage_->journal = nullptr;
      impl.own_sinks.clear();
      impl.phases.on_span(nullptr);
      impl.folder.reset();
      stop_requested = false;
    }
  };

  std::shared_ptr<Communicator> ranks;
  Communicator& communicator;
  RunConfig config;
  CausalLM policy;
  Tokenizer tokenizer;
  RewardSet rewards;
  Optimizer optimizer;
  Phases phases;
  enum class Course { Unstarted, Stepping, Failed } course = Course::Unstarted;
  std::unique_ptr<Stage> stage_;
  std::optional<RunFolder> folder;
  std::optional<Journal> journal;
  std::optional<PromptSet> eval_prompts;
  std::int64_t saved = 0;  // step of the last checkpoint
  std::optional<BestStep> best;
  std::optional<Metrics> unfinished;  // of the step at hand, whose evaluation failed
  std::function<void(const RolloutReport&)> on_rollout;
  std::function<void(const StepReport&)> on_step;
  std::vector<std::unique_ptr<MetricSink>> own_sinks, sinks;
};

Trainer::Trainer(RunConfig config, Communicator communicator) {
  const auto ranks = std::make_shared<Communicator>(std::move(communicator));
  together(*ranks, [&] { impl_ = std::make_unique<Impl>(std::move(config), ranks); });
}
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;
Trainer::~Trainer() {
  impl_.reset();
  ops::trim_pool();
}

RewardSet& Trainer::rewards() { return impl_->rewards; }
CausalLM& Trainer::model() { return impl_->policy; }
const Tokenizer& Trainer::tokenizer() const { return impl_->tokenizer; }
const RunConfig& Trainer::config() const { return impl_->config; }
void Trainer::on_rollout(std::function<void(const RolloutReport&)> callback) {
  impl_->on_rollout = std::move(callback);
}
void Trainer::on_step(std::function<void(const StepReport&)> callback) { impl_->on_step = std::move(callback); }
void Trainer::add_sink(std::unique_ptr<MetricSink> sink) { impl_->sinks.push_back(std::move(sink)); }
void Trainer::run(Start start, const std::vector<std::string>& allow) {
  together(impl_->communicator, [&] { impl_->run(start, allow); });
}
Metrics Trainer::step() {
  return together(impl_->communicator, [&] { return impl_->step(); });
}
Metrics Trainer::evaluate() {
  return together(impl_->communicator, [&] { return impl_->evaluate(); });
}
void Trainer::request_stop() { stop_requested = true; }

}  // namespace grpo::inline GRPO_ABI
