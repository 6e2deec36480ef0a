#include <grpo/pipeline.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "support/tensors.h"
#include "support/tiny_run.h"

namespace grpo::testing {
namespace {

// A reward whose answers the test knows: a function of the row's number and of the completion.
class Known final : public Reward {
 public:
  using Judge = std::function<double(std::int64_t row, const RewardInput& input)>;
  explicit Known(Judge judge) : judge_(std::move(judge)) {}
  std::string_view name() const override { return "known"; }
  double score(const RewardInput& input) const override {
    EXPECT_TRUE(input.is_evaluation());
    return judge_(input.column<std::int64_t>("a"), input);
  }
  std::optional<std::string> answer(const RewardInput& input) const override {
    return extract_answer(input.segments(), std::vector<std::string>{"anchor", "last_number"});
  }

 private:
  Judge judge_;
};

class Evaluate : public OpsTest {
 protected:
  Evaluate() {
    set_threads(1);
    std::vector<Json> rows;
    for (int i = 0; i < 10; ++i)
      rows.push_back(
          Json::Object{{"question", std::to_string(i) + "+1="}, {"answer", std::to_string(i + 1)}, {"a", i}});
    dataset_.emplace(Dataset::from_rows(std::move(rows), "rows"));
    data_.prompt = "question";
    data_.template_kind = TemplateKind::Plain;
  }
  Evaluation run(Known::Judge judge, const EvaluationOptions& options) {
    RewardSet rewards;
    rewards.add(std::make_unique<Known>(std::move(judge)));
    return evaluate(model_, tokenizer_, *dataset_, data_, rewards, options);
  }
  CausalLM model_ = CausalLM::init(tiny_model_config(), 7, {});
  Tokenizer tokenizer_ = tiny_tokenizer();
  std::optional<Dataset> dataset_;
  DataSection data_;
};

TEST_F(Evaluate, CountsWhatTheRewardSays) {
  // Rows 0, 1, 2 of ten are right, whatever the answer; 0.99 is not right.
  const Evaluation result =
      run([](std::int64_t row, const RewardInput&) { return row < 3 ? 1.0 : 0.99; }, {.k = 4, .max_new_tokens = 5});
  EXPECT_EQ(result.n, 10);
  EXPECT_EQ(result.k, 4);
  EXPECT_DOUBLE_EQ(result.pass_at_1, 0.3);
  EXPECT_DOUBLE_EQ(result.pass_at_k, 0.3);
  EXPECT_NEAR(result.standard_error, std::sqrt(0.3 * 0.7 / 9), 1e-15);  // sqrt(variance with n - 1, over n)
  EXPECT_GT(result.mean_length, 1);
  EXPECT_LE(result.mean_length, 5);
  ASSERT_EQ(result.first_samples.size(), 8u);
  EXPECT_EQ(result.first_samples[2].prompt, "2+1=");
  EXPECT_EQ(result.first_samples[2].score, 1);
  EXPECT_EQ(result.first_samples[3].score, 0.99);
  const Json json = to_json(result);
  std::string keys;
  for (const auto& [key, value] : json.as_object()) keys += key + " ";
  EXPECT_EQ(keys, "n k pass@1 stderr pass@k cons@k mean_length truncated ");
  EXPECT_EQ(json.at("pass@1").as_double(), result.pass_at_1);
}

TEST_F(Evaluate, DrawsAreRightOrWrongOneByOne) {
  // Right by the answer itself; every figure is worked out again from what the reward saw.
  std::vector<std::vector<double>> scores(10);
  std::vector<std::size_t> lengths;
  double truncated = 0;
  const Known::Judge judge = [&](std::int64_t row, const RewardInput& input) {
    const double score = input.token_ids().size() % 2 == 0 || input.token_ids()[0] % 2 == 0 ? 1 : 0;
    scores[static_cast<std::size_t>(row)].push_back(score);
    lengths.push_back(input.token_ids().size());
    truncated += input.finish_reason() == FinishReason::Length ? 1 : 0;
    return score;
  };
  const Evaluation result = run(judge, {.k = 5, .max_new_tokens = 9, .cache_tokens = 128});
  double share = 0, any = 0, length = 0;
  for (const std::vector<double>& row : scores) {
    ASSERT_EQ(row.size(), 5u);
    double right = 0;
    for (const double score : row) right += score;
    share += right / 5;
    any += right > 0 ? 1 : 0;
  }
  for (const std::size_t one : lengths) length += static_cast<double>(one);
  EXPECT_DOUBLE_EQ(result.pass_at_1, share / 10);
  EXPECT_DOUBLE_EQ(result.pass_at_k, any / 10);
  EXPECT_DOUBLE_EQ(result.mean_length, length / 50);
  EXPECT_DOUBLE_EQ(result.truncated, truncated / 50);
  EXPECT_GT(result.standard_error, 0);
}

TEST_F(Evaluate, TheMajorityAnswersForItsPrompt) {
  // Right is who agrees with the most frequent last number among the row's draws, so each prompt whose draws hold a
  // number counts; the others have no vote.
  std::map<std::int64_t, std::vector<std::string>> answers;
  const std::vector<std::string> extract = {"anchor", "last_number"};
  const EvaluationOptions options{.k = 6, .max_new_tokens = 4};
  run(
      [&](std::int64_t row, const RewardInput& input) {
        answers[row].push_back(extract_answer(input.segments(), extract).value_or(""));
        return 0.0;
      },
      options);
  std::map<std::int64_t, std::string> most;
  for (const auto& [row, given] : answers)
    for (const std::string& answer : given)
      if (!answer.empty() && std::count(given.begin(), given.end(), answer) >
                                 (most[row].empty() ? 0 : std::count(given.begin(), given.end(), most[row])))
        most[row] = answer;  // ties: the first seen
  double voted = 0;
  for (const auto& [row, answer] : most) voted += answer.empty() ? 0 : 1;
  ASSERT_GT(voted, 3);
  const auto agrees = [&](std::int64_t row, const RewardInput& input) {
    const std::string answer = extract_answer(input.segments(), extract).value_or("");
    return !answer.empty() && answer == most[row];
  };
  const Evaluation with =
      run([&](std::int64_t row, const RewardInput& in) { return agrees(row, in) ? 1.0 : 0.0; }, options);
  EXPECT_DOUBLE_EQ(with.cons_at_k, voted / 10);
  const Evaluation without =
      run([&](std::int64_t row, const RewardInput& in) { return agrees(row, in) ? 0.0 : 1.0; }, options);
  EXPECT_EQ(without.cons_at_k, 0);
}

// The chance of each prompt's first token, from the model itself, against the share of draws that took it.
TEST_F(Evaluate, FindsTheChanceThatTheModelGives) {
  const auto is_right = [](std::int32_t id) { return id % 5 == 0; };
  double expected = 0, variance = 0;
  const PromptBuilder builder(tokenizer_, data_);
  constexpr int kDraws = 400;
  for (std::size_t i = 0; i < dataset_->size(); ++i) {
    const std::vector<std::int32_t> ids = builder.build(dataset_->row(i), i).ids;
    const at::NoGradGuard no_grad;
    const at::Tensor last = model_.forward(separate_sequences({ids})).slice(0, -1);
    const at::Tensor chances = logits(last, model_.head())[0].to(at::kDouble).softmax(0);
    double right = 0;
    for (std::int32_t id = 0; id < chances.size(0); ++id) right += is_right(id) ? chances[id].item<double>() : 0;
    expected += right / 10;
    variance += right * (1 - right) / kDraws / 100;
  }
  const Evaluation result =
      run([&](std::int64_t, const RewardInput& input) { return is_right(input.token_ids()[0]) ? 1.0 : 0.0; },
          {.k = kDraws, .max_new_tokens = 1});
  EXPECT_NEAR(result.pass_at_1, expected, 4 * std::sqrt(variance));
  EXPECT_LT(4 * std::sqrt(variance), 0.03);
  EXPECT_EQ(result.mean_length, 1);
}

TEST_F(Evaluate, LeavesRowsOutWithoutChangingTheOthers) {
  const Known::Judge judge = [](std::int64_t, const RewardInput& input) { return input.token_ids()[0] % 2; };
  const EvaluationOptions options{.k = 6, .max_new_tokens = 4};
  const Evaluation all = run(judge, options);
  EvaluationOptions fewer = options;
  fewer.leave_out = {0, 4, 9, 77};
  const Evaluation some = run(judge, fewer);
  EXPECT_EQ(all.left_out, 0);
  EXPECT_EQ(some.left_out, 3);
  EXPECT_EQ(some.n, 7);
  ASSERT_EQ(some.problems.size(), 7u);
  for (const Evaluation::Problem& problem : some.problems) {
    EXPECT_TRUE(problem.row != 0 && problem.row != 4 && problem.row != 9);
    EXPECT_EQ(problem.pass_at_1, all.problems.at(problem.row).pass_at_1);
  }
  EXPECT_EQ(compare(all, some).n, 7);
  EXPECT_EQ(compare(all, some).better + compare(all, some).worse, 0);
  fewer.max_prompts = 5;
  EXPECT_EQ(run(judge, fewer).n, 3);
  fewer.leave_out = {0, 1, 2, 3, 4};
  EXPECT_EQ(error_of([&] { run(judge, fewer); }), "evaluate: each of the 5 prompts is to be left out");
}

// Right everywhere, asked about rows up to `last` only.
class Partial final : public Reward {
 public:
  explicit Partial(std::int64_t last) : last_(last) {}
  std::string_view name() const override { return "partial"; }
  double score(const RewardInput&) const override { return 1; }
  bool applies(const RewardInput& input) const override { return input.column<std::int64_t>("a") <= last_; }

 private:
  std::int64_t last_;
};

TEST_F(Evaluate, LeavesOutPromptsThatTheRewardIsNotAbout) {
  const EvaluationOptions options{.k = 2, .max_new_tokens = 3};
  RewardSet rewards;
  rewards.add(std::make_unique<Partial>(6));
  const Evaluation result = evaluate(model_, tokenizer_, *dataset_, data_, rewards, options);
  EXPECT_EQ(result.n, 7);
  EXPECT_EQ(result.pass_at_1, 1);
  RewardSet none;
  none.add(std::make_unique<Partial>(-1));
  EXPECT_EQ(error_of([&] { evaluate(model_, tokenizer_, *dataset_, data_, none, options); }),
            "evaluate: reward partial applies to none of the prompts");
}

TEST_F(Evaluate, ChoosesItsRewardAndSaysWhatItCannotDo) {
  RewardSet rewards;
  rewards.add(std::make_unique<Known>([](std::int64_t, const RewardInput&) { return 1.0; }));
  rewards.add(std::make_unique<MixedIds>());
  EvaluationOptions options{.k = 1, .temperature = 0, .max_new_tokens = 3, .max_prompts = 4};
  Evaluation result = evaluate(model_, tokenizer_, *dataset_, data_, rewards, options);
  EXPECT_EQ(result.pass_at_1, 1);  // the first
  EXPECT_EQ(result.n, 4);
  options.reward = "mixed_ids";
  result = evaluate(model_, tokenizer_, *dataset_, data_, rewards, options);
  EXPECT_LT(result.pass_at_1, 1);
  const auto error = [&](RewardSet& set) {
    return error_of([&] { evaluate(model_, tokenizer_, *dataset_, data_, set, options); });
  };
  options.reward = "other";
  EXPECT_EQ(error(rewards), "evaluate: no reward is called \"other\"");
  options.reward = "";
  options.k = 0;
  EXPECT_EQ(error(rewards), "evaluate: expected k >= 1, got 0");
  options.k = 1;
  RewardSet none;
  EXPECT_EQ(error(none), "evaluate: expected at least one reward, got none");
  data_.max_prompt_length = 1;
  EXPECT_EQ(error(rewards), "rows: none of the 10 prompts fits in 1 tokens");
}

}  // namespace
}  // namespace grpo::testing
