// Run folders: who may use them, what resume takes from them, and that a resumed run is the run.
#include <fcntl.h>
#include <grpo/train.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "support/tensors.h"
#include "support/tiny_run.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

using Resume = OpsTest;

void run(const RunConfig& config, Trainer::Start start = Trainer::Start::Fresh, std::int64_t stop_after = 0) {
  Trainer trainer = tiny_trainer(config);
  trainer.on_step([stop_after](const StepReport& report) {
    if (report.step == stop_after) Trainer::request_stop();
  });
  trainer.run(start);
}

std::string resume_error(const RunConfig& config, ErrorKind kind = ErrorKind::User) {
  return error_of([&] { run(config, Trainer::Start::Resume); }, kind);
}

std::vector<Json> metrics_without_times(const std::string& folder) {
  std::vector<Json> rows = read_jsonl(folder + "/metrics.jsonl");
  for (Json& row : rows) std::erase_if(row.as_object(), [](const auto& entry) { return is_time(entry.first); });
  return rows;
}

// Weights, moments, reference and state, to the byte; metrics but for times; completions.
void expect_same_run(const std::string& a, const std::string& b, std::int64_t step) {
  const std::string checkpoint = "/checkpoints/step-" + std::to_string(step) + "/";
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "reference.safetensors", "state.json"}) {
    ASSERT_EQ(fs::exists(a + checkpoint + name), fs::exists(b + checkpoint + name)) << name;
    if (fs::exists(a + checkpoint + name)) {
      EXPECT_TRUE(read_file(a + checkpoint + name) == read_file(b + checkpoint + name)) << name;
    }
  }
  EXPECT_EQ(metrics_without_times(a), metrics_without_times(b));
  ASSERT_EQ(fs::exists(a + "/completions.jsonl"), fs::exists(b + "/completions.jsonl"));
  if (fs::exists(a + "/completions.jsonl")) {
    EXPECT_EQ(read_file(a + "/completions.jsonl"), read_file(b + "/completions.jsonl"));
  }
}

RunConfig with_reference(RunConfig config) {
  config.grpo.loss.beta = 0.05;
  config.grpo.ref_sync_steps = 3;
  config.grpo.ref_mixup_alpha = 0.5;
  config.optimizer.schedule = Schedule::Cosine;
  config.optimizer.warmup_steps = 1;
  return config;
}

TEST_F(Resume, AStoppedRunGoesOnAsIfItHadNot) {
  const TinyRun tiny;
  for (RunConfig config : {with_reference(tiny.grpo(5)), tiny.sft(5)}) {
    config.output_dir = tiny.path(config.kind == RunKind::Grpo ? "grpo-whole" : "sft-whole");
    run(config);
    const std::string whole = config.output_dir;
    config.output_dir += "-parts";
    run(config, Trainer::Start::Fresh, 2);
    EXPECT_EQ(newest_checkpoint(config.output_dir), 2);
    run(config, Trainer::Start::Resume, 3);
    EXPECT_EQ(newest_checkpoint(config.output_dir), 3);
    run(config, Trainer::Start::Resume);
    expect_same_run(whole, config.output_dir, 5);
  }
}

TEST_F(Resume, ARunCanBeMadeLonger) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(4);
  run(config);
  config.output_dir = tiny.path("parts");
  config.max_steps = 2;
  run(config);
  config.max_steps = 4;
  config.save_every = 1;  // may change as well
  config.log_completions = 4;
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 4);
}

// A killed run leaves records of steps after its last checkpoint, a line cut short and half a checkpoint.
TEST_F(Resume, ForgetsWhatCameAfterTheCheckpoint) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(4);
  run(config);
  config.output_dir = tiny.path("killed");
  config.save_every = 2;
  {
    Trainer trainer = tiny_trainer(config);
    trainer.on_step([](const StepReport& report) {
      if (report.step == 3) throw Error("killed");
    });
    error_of([&] { trainer.run(); });
  }
  EXPECT_EQ(read_jsonl(tiny.path("killed/metrics.jsonl")).size(), 3u);
  tiny.write("killed/metrics.jsonl", read_file(tiny.path("killed/metrics.jsonl")) + "{\"step\": 4, \"lo");
  fs::create_directories(tiny.path("killed/checkpoints/step-3.partial"));
  fs::create_directories(tiny.path("killed/checkpoints/step-9"));  // no state.json: not whole
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 4);
}

TEST_F(Resume, StartsAnewWithoutACheckpoint) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(2);
  run(config);
  config.output_dir = tiny.path("early");
  {
    Trainer trainer = tiny_trainer(config);
    trainer.on_step([](const StepReport&) { throw Error("killed"); });
    error_of([&] { trainer.run(); });
  }
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 2);
}

TEST_F(Resume, AFinishedRunStaysAsItIs) {
  const TinyRun tiny;
  const RunConfig config = tiny.grpo(2);
  run(config);
  const std::string state = tiny.path("run/checkpoints/step-2/state.json");
  const auto written = fs::last_write_time(state);
  run(config, Trainer::Start::Resume);
  EXPECT_EQ(fs::last_write_time(state), written);
  EXPECT_EQ(read_jsonl(tiny.path("run/metrics.jsonl")).size(), 2u);
}

TEST_F(Resume, RefusesAnotherConfigByField) {
  const TinyRun tiny;
  const RunConfig config = tiny.grpo(2);
  run(config);
  const std::string before = read_file(tiny.path("run/config.resolved.yaml"));
  RunConfig changed = config;
  changed.optimizer.learning_rate = 0.5;
  changed.grpo.loss.epsilon = 0.1;
  changed.seed = 7;
  const std::string error = resume_error(changed);
  for (const char* field :
       {"optimizer.learning_rate: 0.01 in the run, 0.5 now", "grpo.epsilon: 0.2 in the run, 0.1 now",
        "seed: 42 in the run, 7 now", "config.resolved.yaml"})
    EXPECT_NE(error.find(field), std::string::npos) << error;
  EXPECT_EQ(error.find("max_steps"), std::string::npos) << error;
  EXPECT_EQ(read_file(tiny.path("run/config.resolved.yaml")), before);
}

TEST_F(Resume, RefusesADamagedCheckpoint) {
  const TinyRun tiny;
  const RunConfig config = with_reference(tiny.grpo(3));
  run(config);
  for (const std::string name : {"model.safetensors", "optimizer.safetensors", "reference.safetensors"}) {
    const std::string path = "run/checkpoints/step-3/" + name;
    const std::string bytes = read_file(tiny.path(path));
    std::string damaged = bytes;
    damaged[damaged.size() - 100] = static_cast<char>(damaged[damaged.size() - 100] ^ 1);
    tiny.write(path, damaged);
    const std::string error = resume_error(config);
    EXPECT_NE(error.find(name + ": damaged: expected checksum"), std::string::npos) << error;
    tiny.write(path, bytes);
  }
  const std::string state = read_file(tiny.path("run/checkpoints/step-3/state.json"));
  tiny.write("run/checkpoints/step-3/state.json", state.substr(0, state.size() / 2));
  EXPECT_NE(resume_error(config).find("state.json"), std::string::npos);
  tiny.write("run/checkpoints/step-3/state.json", state);
  fs::remove(tiny.path("run/checkpoints/step-3/optimizer.safetensors"));
  EXPECT_NE(resume_error(config).find("optimizer.safetensors"), std::string::npos);
}

TEST_F(Resume, RefusesFoldersThatAreNotItsOwn) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(1);
  EXPECT_NE(resume_error(config).find("holds no run to resume"), std::string::npos);
  EXPECT_FALSE(fs::exists(config.output_dir));
  run(config);
  const std::string metrics = read_file(tiny.path("run/metrics.jsonl"));
  EXPECT_NE(error_of([&] { run(config); }).find("already holds a run"), std::string::npos);
  EXPECT_EQ(read_file(tiny.path("run/metrics.jsonl")), metrics);

  const int lock = ::open(tiny.path("run/LOCK").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  EXPECT_NE(resume_error(config).find("LOCK is held"), std::string::npos);
  EXPECT_TRUE(fs::exists(tiny.path("run/LOCK"))) << "it is the other's";
  ::close(lock);
  run(config, Trainer::Start::Resume);

  tiny.write("file", "");
  config.output_dir = tiny.path("file/run");
  EXPECT_NE(error_of([&] { run(config); }).find("cannot make folder"), std::string::npos);
}

TEST_F(Resume, SavesWhenNothingIsInFlight) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(8);
  config.grpo.prompts_per_step = 1;
  config.grpo.steps_per_generation = 2;
  config.save_every = 3;  // at 3 a rollout is in flight
  run(config);
  std::set<std::string> saved;
  for (const auto& entry : fs::directory_iterator(tiny.path("run/checkpoints"))) saved.insert(entry.path().filename());
  EXPECT_EQ(saved, (std::set<std::string>{"step-4", "step-6", "step-8"}));

  // Stopped inside a rollout: the checkpoint before it stands, and resume goes on from there.
  config.output_dir = tiny.path("stopped");
  run(config, Trainer::Start::Fresh, 5);
  EXPECT_EQ(newest_checkpoint(config.output_dir), 4);
  run(config, Trainer::Start::Resume);
  expect_same_run(tiny.path("run"), config.output_dir, 8);

  // An end inside a rollout gives a model, but nothing to go on from.
  config.output_dir = tiny.path("odd");
  config.max_steps = 3;
  run(config);
  EXPECT_EQ(newest_checkpoint(config.output_dir), 3);
  config.max_steps = 8;
  EXPECT_NE(resume_error(config).find("lies inside a rollout"), std::string::npos);
}

}  // namespace
}  // namespace grpo::testing
