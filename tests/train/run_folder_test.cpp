// Run folders: who may use them, and what resume takes from them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "train/resumed_run.h"

namespace grpo::testing {
namespace {

namespace fs = std::filesystem;

using Resume = OpsTest;

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

// A rate that falls until the last step depends on where that is.
TEST_F(Resume, RefusesAnotherLengthWhereTheRateFollowsIt) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(2);
  config.optimizer.schedule = Schedule::Linear;
  run(config);
  config.max_steps = 3;
  EXPECT_NE(resume_error(config).find("max_steps: 2 in the run, 3 now"), std::string::npos);
  resume_with(config, {"max_steps"});
  EXPECT_EQ(read_jsonl(tiny.path("run/metrics.jsonl")).size(), 3u);
}

// What it has trained would be mixed with what the checkpoint holds.
TEST_F(Resume, IsForATrainerThatHasTakenNoStep) {
  const TinyRun tiny;
  Trainer trainer = tiny_trainer(tiny.grpo(2));
  trainer.run();
  EXPECT_NE(error_of([&] { trainer.run(Trainer::Start::Resume); }).find("make a new one for Start::Resume"),
            std::string::npos);
}

TEST_F(Resume, TakesChangesThatAreAllowedByName) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(2);
  config.rewards = {{.name = "format", .weight = 1.0}, {.name = "repetition", .weight = 0.5}};
  run(config);
  config.max_steps = 3;
  config.optimizer.learning_rate = 0.5;
  config.optimizer.beta1 = 0.8;
  config.rewards[1].weight = 2;
  const auto error = [&](const std::vector<std::string>& allow) {
    return error_of([&] { resume_with(config, allow); });
  };
  const std::string partly = error({"optimizer.beta1"});
  EXPECT_EQ(partly.find("beta1"), std::string::npos) << partly;
  EXPECT_NE(partly.find("optimizer.learning_rate: 0.01 in the run, 0.5 now"), std::string::npos) << partly;
  EXPECT_NE(partly.find("rewards.1.weight: 0.5 in the run, 2.0 now"), std::string::npos) << partly;
  EXPECT_NE(error({"optimizer"}).find("rewards.1.weight"), std::string::npos);
  EXPECT_NE(error({"optimizer.lerning_rate"})
                .find("--allow: expected a field or section of the config, got "
                      "\"optimizer.lerning_rate\" (did you mean \"optimizer.learning_rate\"?)"),
            std::string::npos);
  EXPECT_EQ(read_jsonl(tiny.path("run/metrics.jsonl")).size(), 2u);
  resume_with(config, {"optimizer", "rewards.1.weight"});
  EXPECT_EQ(read_jsonl(tiny.path("run/metrics.jsonl"))[2].at("learning_rate").as_double(), 0.5);
  resume_with(config, {});  // it is the run's config now
}

TEST_F(Resume, RefusesRowsThatHaveChanged) {
  const TinyRun tiny;
  RunConfig config = tiny.grpo(2);
  tiny.add_row(1, 1, "held-out.jsonl");
  config.eval.data = tiny.path("held-out.jsonl");
  run(config);
  config.max_steps = 3;
  const std::string train = read_file(tiny.path("train.jsonl"));
  tiny.add_row(5, 2, "train.jsonl");
  const std::string error = resume_error(config);
  for (const std::string& words : {"data.train: the rows of " + tiny.path("train.jsonl") + " have changed",
                                   checksum_hex(train), checksum_of_file(tiny.path("train.jsonl"))})
    EXPECT_NE(error.find(words), std::string::npos) << error;
  resume_with(config, {"data.train"});
  run(config, Trainer::Start::Resume);
  tiny.add_row(2, 2, "held-out.jsonl");
  EXPECT_NE(resume_error(config).find("eval.data: the rows of"), std::string::npos);
  fs::copy(tiny.path("held-out.jsonl"), tiny.path("other.jsonl"));
  config.eval.data = tiny.path("other.jsonl");  // another file is another evaluation, which is free
  run(config, Trainer::Start::Resume);
}

TEST_F(Resume, RefusesADamagedCheckpoint) {
  const TinyRun tiny;
  const RunConfig config = with_reference(tiny.grpo(3));
  run(config);
  for (const std::string name :
       {"model.safetensors", "optimizer.safetensors", "reference.safetensors", "tokenizer.json"}) {
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
  std::string edited = state;
  edited.replace(edited.find("\"position\": 9"), 13, "\"position\": 6");
  tiny.write("run/checkpoints/step-3/state.json", edited);
  EXPECT_NE(resume_error(config).find("state.json: damaged: expected checksum"), std::string::npos);
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

}  // namespace
}  // namespace grpo::testing
