#include "train/plan.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>
#include <iostream>
#include <random>

#include "base/memory.h"
#include "support/process.h"
#include "support/tensor_bytes.h"
#include "support/tensors.h"
#include "support/tiny_run.h"
#include "train/minibatches.h"
#include "train/stage.h"

namespace grpo::testing {
namespace {

class Plan : public OpsTest {};

ModelConfig medium_model() {
  ModelConfig config = tiny_model_config();
  config.vocab_size = 4096;
  config.hidden_size = 256;
  config.intermediate_size = 768;
  config.num_layers = 4;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 64;
  config.max_positions = 1024;
  return config;
}

TEST_F(Plan, CostsOfAModelByHand) {
  ModelConfig model = medium_model();
  const std::int64_t layer = 256 * 256 * 2 + 128 * 256 * 2 + 3 * 256 * 768, table = 4096 * 256;
  model.tie_embeddings = false;
  Json plan = plan_model(model, DType::Float32);
  EXPECT_EQ(plan.at("total").as_int(), 2 * table + 4 * (layer + 512) + 256);
  EXPECT_EQ(plan.at("active"), plan.at("total"));
  EXPECT_EQ(plan.at("cache_elements_per_token").as_int(), 4 * 2 * 2 * 64);
  EXPECT_EQ(plan.at("cache_bytes_per_token").as_int(), 4 * 4 * 2 * 2 * 64);
  EXPECT_EQ(plan.at("flops_per_token").as_int(), 2 * (table + 4 * layer));
  EXPECT_EQ(plan.at("attention_flops_per_token_and_position").as_int(), 4 * 4 * 256);
  model.tie_embeddings = true;
  plan = plan_model(model, DType::BFloat16);
  EXPECT_EQ(plan.at("total").as_int(), table + 4 * (layer + 512) + 256);
  EXPECT_EQ(plan.at("cache_bytes_per_token").as_int(), 2 * 4 * 2 * 2 * 64);
  EXPECT_EQ(plan.at("flops_per_token").as_int(), 2 * (table + 4 * layer));
}

// The count from lengths is what pack() makes of such answers.
TEST_F(Plan, SizesAreThoseOfPack) {
  std::mt19937 random(3);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<RolloutGroup> groups(5);
    for (RolloutGroup& group : groups) {
      group.prompt.ids.resize(static_cast<std::size_t>(draw(1, 70)));
      group.completions.resize(static_cast<std::size_t>(draw(1, 6)));
      for (Completion& completion : group.completions) {
        completion.ids.resize(static_cast<std::size_t>(draw(1, 60)));
        completion.logprobs.resize(completion.ids.size());
      }
    }
    std::vector<AnswerRef> answers;
    std::vector<AnswerSize> sizes;
    for (std::size_t g = 0; g < groups.size(); ++g)
      for (std::size_t c = 0; c < groups[g].completions.size(); ++c) {
        if (draw(0, 3) == 0) continue;
        answers.push_back({&groups[g], c});
        sizes.push_back({g, static_cast<std::int64_t>(groups[g].prompt.ids.size()),
                         static_cast<std::int64_t>(groups[g].completions[c].ids.size())});
      }
    const std::int64_t max_tokens = draw(40, 300);
    const std::vector<PackedBatch> batches = pack(answers, {.max_tokens = max_tokens});
    const PackedSizes counted = packed_sizes(sizes, max_tokens);
    std::int64_t tokens = 0, most_tokens = 0, most_targets = 0;
    for (const PackedBatch& batch : batches) {
      tokens += static_cast<std::int64_t>(batch.tokens.tokens.size());
      most_tokens = std::max(most_tokens, static_cast<std::int64_t>(batch.tokens.tokens.size()));
      most_targets = std::max(most_targets, static_cast<std::int64_t>(batch.targets.size()));
    }
    EXPECT_EQ(counted.batches, static_cast<std::int64_t>(batches.size()));
    EXPECT_EQ(counted.tokens, tokens);
    EXPECT_EQ(counted.most_tokens, most_tokens);
    EXPECT_EQ(counted.most_targets, most_targets);
  }
}

TEST_F(Plan, AnswersAreDealtOutEvenlyAndEachOnce) {
  for (const MinibatchSplit split : {MinibatchSplit::Groups, MinibatchSplit::Completions}) {
    std::vector<int> counts(3);
    for (const std::size_t part : deal_answers(14, {split, 3, 42, 5})) ++counts[part];
    EXPECT_EQ(counts[0] + counts[1] + counts[2], 14);
    EXPECT_LE(*std::max_element(counts.begin(), counts.end()) - *std::min_element(counts.begin(), counts.end()), 1);
  }
  EXPECT_EQ(deal_answers(4, {MinibatchSplit::Groups, 2, 42, 0}), (std::vector<std::size_t>{0, 0, 1, 1}));
  EXPECT_NE(deal_answers(64, {MinibatchSplit::Completions, 2, 42, 0}),
            deal_answers(64, {MinibatchSplit::Completions, 2, 42, 1}));
}

// Spreading completions over four minibatches carries most prompts into most of them.
TEST_F(Plan, TokensOfBothSplits) {
  RunConfig config;
  config.grpo.num_generations = 4;
  config.grpo.prompts_per_step = 8;
  config.grpo.steps_per_generation = 4;
  config.grpo.loss.max_completion_length = 11;
  const RowLengths lengths(100, 50);
  for (const PackedSizes& step : step_sizes(config, lengths, MinibatchSplit::Groups)) {
    EXPECT_EQ(step.prompts, 8);
    EXPECT_EQ(step.tokens, 8 * (50 + 4 * 10));
    EXPECT_EQ(step.batches, 1);
  }
  double prompts = 0;
  for (const PackedSizes& step : step_sizes(config, lengths, MinibatchSplit::Completions)) {
    EXPECT_EQ(step.tokens, step.prompts * 50 + 32 * 10);
    prompts += static_cast<double>(step.prompts) / 4;
  }
  // 32 prompts, each with none of its 4 answers in a given quarter by C(96,4) / C(128,4): 10.0 of them.
  EXPECT_NEAR(prompts, 22.0, 2.5);
}

TEST_F(Plan, OfARun) {
  const TinyRun run;
  RunConfig config = run.grpo(7);
  config.grpo.steps_per_generation = 2;
  const Json plan = plan_run(config);
  const Json& batches = plan.at("batches");
  EXPECT_EQ(batches.at("answers_per_step").as_int(), 12);
  EXPECT_EQ(batches.at("prompts_per_rollout").as_int(), 6);
  EXPECT_EQ(batches.at("rollouts").as_int(), 4);
  EXPECT_EQ(batches.at("rows").as_int(), 20);
  EXPECT_DOUBLE_EQ(batches.at("epochs").as_double(), 24.0 / 20);
  const Json& tokens = plan.at("tokens");
  EXPECT_EQ(tokens.at("prompt_lengths").at("source"), Json("dataset"));
  const auto length = static_cast<std::int64_t>(tiny_tokenizer().encode("6+2=").size());  // as all of them
  EXPECT_EQ(tokens.at("prompt_lengths").at("longest").as_int(), length);
  EXPECT_EQ(tokens.at("sampled_per_rollout").as_int(), 24 * 6);
  EXPECT_DOUBLE_EQ(tokens.at("per_step").at("groups").at("tokens").as_double(),
                   static_cast<double>(3 * length + 12 * 5));
  const Json& bytes = plan.at("bytes");
  std::string phases;
  for (const auto& [phase, parts] : bytes.at("per_rank").as_object()) {
    std::int64_t sum = 0;
    for (const auto& [part, value] : parts.as_object()) sum += part == "total" ? 0 : value.as_int();
    EXPECT_EQ(parts.at("total").as_int(), sum);
    EXPECT_LE(sum, bytes.at("peak").as_int());
    phases += phase + " ";
  }
  EXPECT_EQ(phases, "rollout update checkpoint ");
  EXPECT_GT(bytes.at("available").as_int(), 0);
  const auto update = [](const Json& of) { return of.at("per_rank").at("update").at("total").as_int(); };
  const Json& recompute = bytes.at("recompute");
  EXPECT_EQ(recompute.at("chosen"), Json("off"));
  EXPECT_EQ(recompute.at("update_off").as_int(), update(bytes));
  config.train.recompute = Recompute::On;
  const Json on = plan_run(config).at("bytes");
  EXPECT_EQ(on.at("recompute").at("chosen"), Json("on"));
  EXPECT_EQ(on.at("recompute").at("update_on").as_int(), update(on));
  EXPECT_LT(update(on), update(bytes));
  EXPECT_EQ(plan_run(run.sft()).at("batches").at("conversations_per_step").as_int(), 6);
}

TEST_F(Plan, AssumesTheLongestPromptWithoutTokenizerOrRows) {
  const TinyRun run;
  RunConfig config = run.grpo();
  config.data.train = run.path("nowhere.jsonl");
  Json lengths = plan_run(config).at("tokens").at("prompt_lengths");
  EXPECT_EQ(lengths.at("source"), Json("limit"));
  EXPECT_NE(lengths.at("why").as_string().find("nowhere.jsonl"), std::string::npos);
  EXPECT_EQ(lengths.at("longest").as_int(), 128 - 6);
  config.data.max_prompt_length = 20;
  EXPECT_EQ(plan_run(config).at("tokens").at("prompt_lengths").at("longest").as_int(), 20);
  config.data.train = run.path("train.jsonl");
  config.model.tokenizer = run.path("train.jsonl");
  EXPECT_EQ(plan_run(config).at("tokens").at("prompt_lengths").at("source"), Json("limit"));
}

TEST_F(Plan, RefusesWhatCannotFit) {
  const TinyRun run;
  RunConfig config = run.grpo();
  config.grpo.loss.beta = 0.1;
  const ModelConfig model = medium_model();
  const std::int64_t least = resident_bytes(config, model).total() + 4 * num_parameters(model);
  EXPECT_NO_THROW(check_memory(config, model, 1, least));
  EXPECT_NO_THROW(check_memory(config, model, 1, 0)) << "unknown";
  EXPECT_NO_THROW(check_memory(config, model, 2, least - 1)) << "each of two keeps half of the moments";
  const std::string text = error_of([&] { check_memory(config, model, 1, least - 1); });
  EXPECT_NE(text.find("memory: training this model needs"), std::string::npos) << text;
  EXPECT_NE(text.find("reference"), std::string::npos) << text;
}

// One outlier among short prompts: the step that meets it may come late.
TEST_F(Plan, RefusesAMicroBatchOrAnAnswerThatCannotFit) {
  const TinyRun run;
  RunConfig config = run.grpo();
  const ModelConfig model = medium_model();
  const RowLengths lengths(50, 10), with_outlier = [&] {
    RowLengths all = lengths;
    all[40] = 100'000;
    return all;
  }();
  const auto refusal = [&](const RowLengths& rows, std::int64_t available) {
    return error_of([&] { check_step_memory(config, model, rows, 1, available); });
  };
  const std::int64_t plenty = std::int64_t{1} << 50;
  EXPECT_NO_THROW(check_step_memory(config, model, with_outlier, 1, plenty));
  EXPECT_NO_THROW(check_step_memory(config, model, with_outlier, 1, 0)) << "unknown";
  const std::int64_t update = [&] {  // what the plan says of a step of such prompts
    const PhaseBytes phase = plan_bytes(config, model, lengths)[1];
    return phase.part("gradients") + phase.part("activations") + phase.part("backward");
  }();
  EXPECT_NO_THROW(check_step_memory(config, model, lengths, 1, update));
  const std::string batch = refusal(lengths, update - 1);
  for (const char* words : {"one micro-batch of the update", "MiB are free", "grpo.micro_batch_tokens (now 8192)",
                            "grpo.max_completion_length (now 6)"})
    EXPECT_NE(batch.find(words), std::string::npos) << batch;
  EXPECT_NE(refusal(with_outlier, update).find("(100006 tokens)"), std::string::npos);
  config.grpo.loss.max_completion_length = 50'000'000;
  EXPECT_NE(refusal(lengths, std::int64_t{1} << 30).find("one answer of the sampler (50000010 tokens)"),
            std::string::npos);

  config = run.sft();
  const std::string bounds = "lower sft.micro_batch_tokens (now 8192) or sft.max_length (now 2048)";
  EXPECT_TRUE(refusal(with_outlier, 1 << 20).ends_with(bounds)) << refusal(with_outlier, 1 << 20);
  config.train.recompute = Recompute::Off;
  EXPECT_TRUE(refusal(with_outlier, 1 << 20).ends_with(bounds + ", or leave train.recompute to auto"));
}

// By hand: of L layers all activations, or each one's input and the rest of one.
TEST_F(Plan, BytesOfActivations) {
  const TinyRun run;
  RunConfig config = run.sft();
  config.sft.batch_size = 2;
  const ModelConfig model = medium_model();
  const RowLengths lengths(10, 100);  // two rows of 100 tokens: 8 blocks of 32 positions
  for (const DType dtype : {DType::Float32, DType::BFloat16}) {
    config.model.dtype = dtype;
    const std::int64_t e = dtype == DType::Float32 ? 4 : 2, rows = 200;
    const std::int64_t layer = rows * ((2 * 256 + 2 * 256 + 2 * 768) * e + 4 * 4 + 8) + 8 * 32 * 2 * 128 * e;
    const std::int64_t rest = rows * 2 * 256 * e + 202 * 40;
    EXPECT_EQ(plan_bytes(config, model, lengths)[0].part("activations"), 4 * layer + rest);
    EXPECT_EQ(plan_bytes(config, model, lengths, 1, true)[0].part("activations"), 4 * rows * 256 * e + layer + rest);
    ModelConfig with_head_norms = model;
    with_head_norms.family = "qwen3";
    EXPECT_EQ(plan_bytes(config, with_head_norms, lengths)[0].part("activations"),
              4 * (layer + rows * ((256 + 128) * e + 4 * (4 + 2))) + rest);
  }
}

TEST_F(Plan, ActivationsAreWhatAForwardKeeps) {
  const TinyRun run;
  RunConfig config = run.sft();
  config.sft.batch_size = 2;
  ModelConfig model = medium_model();
  for (const auto& [family, dtype] : {std::pair{"llama", DType::Float32},
                                      {"llama", DType::BFloat16},
                                      {"qwen2", DType::Float32},
                                      {"qwen3", DType::Float32},
                                      {"qwen3", DType::BFloat16}}) {
    model.family = family;
    config.model.dtype = dtype;
    const CausalLM policy = CausalLM::init(model, 1, {.dtype = dtype, .trainable = true});
    TokenBatch batch{random_ids(200, 1), {{0, 100}, {100, 200}}};
    const auto bytes = std::make_shared<TensorBytes>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
    const at::Tensor hidden = policy.forward(batch);
    const auto planned = static_cast<double>(plan_bytes(config, model, RowLengths(10, 100))[0].part("activations"));
    EXPECT_NEAR(static_cast<double>(bytes->now), planned, 0.02 * planned) << family;
  }
}

// Beside all activations of a step's only micro-batch there are the gradients outside the layers, later all of them
// without activations; several micro-batches have both.
TEST_F(Plan, BytesOfGradients) {
  const TinyRun run;
  RunConfig config = run.sft();
  config.sft.batch_size = 2;
  const ModelConfig model = medium_model();
  const std::int64_t outside = 4 * (2 * 4096 * 256 + 256), all = 4 * num_parameters(model);
  const auto part = [&](std::int64_t tokens, const char* name) {
    return plan_bytes(config, model, RowLengths(10, tokens))[0].part(name);
  };
  EXPECT_EQ(part(10, "gradients"), all - part(10, "activations"));
  EXPECT_EQ(part(1000, "gradients"), outside);
  config.sft.micro_batch_tokens = 1000;
  EXPECT_EQ(part(1000, "gradients"), all);
  EXPECT_EQ(resident_bytes(config, model).part("gradients"), 0);
}

TEST_F(Plan, RecomputesOnlyWhereTheUpdateFitsOnlySo) {
  const TinyRun run;
  const ModelConfig model = medium_model();
  const RowLengths lengths(50, 400);  // activations are more than gradients
  for (RunConfig config : {run.grpo(), run.sft()}) {
    const std::int64_t resident = resident_bytes(config, model).total();
    const auto need = [&](bool recompute) {
      return update_bytes(plan_bytes(config, model, lengths, 1, recompute)) - resident;
    };
    const auto chosen = [&](std::int64_t available, const RowLengths& rows) {
      return plan_recompute(config, model, rows, 1, available);
    };
    EXPECT_FALSE(chosen(need(false), lengths));
    EXPECT_TRUE(chosen(need(false) - 1, lengths));
    EXPECT_TRUE(chosen(need(true), lengths));
    EXPECT_FALSE(chosen(1000, lengths)) << "fits in no case";
    EXPECT_FALSE(chosen(0, lengths)) << "unknown";
    // A row that the first steps do not meet, and that is too long for a micro-batch.
    RowLengths with_outlier = lengths;
    with_outlier[40] = 5000;
    const auto micro_batch = [&](bool recompute) {
      const std::vector<PhaseBytes> phases = plan_bytes(config, model, {5000}, 1, recompute);
      const PhaseBytes& update = phases[phases.size() - 2];
      return update.part("gradients") + update.part("activations") + update.part("backward");
    };
    EXPECT_FALSE(chosen(micro_batch(false), with_outlier));
    EXPECT_TRUE(chosen(micro_batch(false) - 1, with_outlier));
    EXPECT_TRUE(chosen(micro_batch(true), with_outlier));
    EXPECT_FALSE(chosen(micro_batch(true) - 1, with_outlier));
    EXPECT_NO_THROW(check_step_memory(config, model, with_outlier, 1, micro_batch(true), true));
    config.train.recompute = Recompute::On;
    EXPECT_TRUE(chosen(std::int64_t{1} << 40, lengths));
    config.train.recompute = Recompute::Off;
    EXPECT_FALSE(chosen(need(false) - 1, lengths));
  }
}

// A quarter each of what is free now, which other programs change.
TEST_F(Plan, RanksOfAMachineShareItsMemory) {
  const TinyRun run;
  const auto available = [&](int ranks, int machines) {
    return plan_run(run.grpo(), ranks, machines).at("bytes").at("available").as_double();
  };
  const double alone = available(1, 1);
  EXPECT_NEAR(available(4, 1), alone / 4, 0.1 * alone);
  EXPECT_NEAR(available(8, 2), alone / 4, 0.1 * alone);
  EXPECT_NEAR(available(3, 4), alone, 0.1 * alone);
}

TEST_F(Plan, OneLayerIsNotRecomputed) {
  const TinyRun run;
  RunConfig config = run.sft();
  ModelConfig model = medium_model();
  model.num_layers = 1;
  EXPECT_FALSE(plan_recompute(config, model, {100}, 1, 1000));
  config.train.recompute = Recompute::On;
  EXPECT_EQ(error_of([&] { plan_recompute(config, model, {100}, 1, 1000); }),
            "train.recompute: on saves nothing in a model of one layer; leave it out");
}

// The stages' part: rows so long that the update would take twice what this machine has.
TEST_F(Plan, IsFollowedByTheModel) {
  const TinyRun run;
  RunConfig config = run.sft();
  config.sft.batch_size = 1;
  ModelConfig model = tiny_model_config();
  model.num_layers = 12;  // without recomputation some five times as much
  CausalLM policy = CausalLM::init(model, 1, {.trainable = true});
  const Tokenizer tokenizer = tiny_tokenizer();
  Communicator communicator = Communicator::single();
  RewardSet rewards;
  Optimizer optimizer(policy.parameters(), config.optimizer, 1);
  Phases phases;
  const StageContext context{config, communicator, policy, tokenizer, rewards, optimizer, phases};
  const auto chosen_for = [&](std::int64_t tokens) {
    fit_memory(context, {tokens});
    return policy.recompute();
  };
  const std::int64_t few = update_bytes(plan_bytes(config, model, {100'000}));
  const std::int64_t too_many = 200'000 * available_memory() / few;
  EXPECT_FALSE(chosen_for(100));
  EXPECT_TRUE(chosen_for(too_many));
  EXPECT_FALSE(chosen_for(100)) << "settled anew";
  config.train.recompute = Recompute::Off;
  EXPECT_NE(error_of([&] { chosen_for(too_many); }).find("or leave train.recompute to auto"), std::string::npos);
  config.train.recompute = Recompute::On;
  EXPECT_TRUE(chosen_for(100));
}

// A run whose answers all reach their limit takes what was planned, within a quarter: the plan has no scratch of
// kernels.
TEST_F(Plan, PeakOfARealRun) {
  ::mallopt(M_MMAP_THRESHOLD, 64 << 10);  // freed memory goes back at once: what is measured is what is in use
  const TinyRun run;
  ModelConfig model = medium_model();
  model.eos_ids = {};  // no answer ends early
  const Tokenizer tokenizer = tiny_tokenizer();
  CausalLM::init(model, 1, {}).save(run.path("medium"), &tokenizer, DType::Float32);
  tiny_trainer(run.grpo()).step();  // the code that it runs is in memory from here on
  std::map<std::pair<DType, Recompute>, std::pair<double, double>> bytes_of;  // planned and measured
  for (const auto& [dtype, recompute] : {std::pair{DType::Float32, Recompute::Off},
                                         {DType::Float32, Recompute::On},
                                         {DType::BFloat16, Recompute::Off},
                                         {DType::BFloat16, Recompute::On}}) {
    RunConfig config = run.grpo(2);
    config.model.path = run.path("medium");
    config.model.dtype = dtype;
    config.train.recompute = recompute;
    config.grpo.num_generations = 8;
    config.grpo.prompts_per_step = 4;
    config.grpo.loss.max_completion_length = 64;
    const Json bytes = plan_run(config).at("bytes");
    ::malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM starts from here
    const std::int64_t before = status_bytes("VmRSS");
    {
      Trainer trainer = tiny_trainer(config);
      trainer.step();
      trainer.step();
    }
    const auto peak = static_cast<double>(status_bytes("VmHWM") - before);
    const auto planned = bytes.at("per_rank").at("update").at("total").as_double();
    EXPECT_GT(peak, 0.75 * planned);
    EXPECT_LT(peak, 1.25 * planned);
    std::cout << "peak " << peak / (1 << 20) << " MiB, planned " << planned / (1 << 20) << " MiB\n";
    bytes_of[{dtype, recompute}] = {planned, peak};
  }
  for (const DType dtype : {DType::Float32, DType::BFloat16}) {
    const auto off = bytes_of[{dtype, Recompute::Off}], on = bytes_of[{dtype, Recompute::On}];
    EXPECT_GT(off.second - on.second, 0.75 * (off.first - on.first));
    EXPECT_LT(off.second - on.second, 1.25 * (off.first - on.first));
  }
}

}  // namespace
}  // namespace grpo::testing
