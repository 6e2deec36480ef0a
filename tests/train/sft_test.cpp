#include <grpo/train.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/tensors.h"
#include "support/tiny_run.h"
#include "support/tolerance.h"

namespace grpo::testing {
namespace {

// A conversation, and the places of the tokens that count.
struct Row {
  std::vector<std::int32_t> ids;
  std::vector<std::size_t> counted;
};

class Sft : public OpsTest {
 protected:
  void SetUp() override { set_threads(1); }

  void append(Row& row, const std::string& text, bool counts) const {
    for (const std::int32_t id : tokenizer_.encode(text)) {
      if (counts) row.counted.push_back(row.ids.size());
      row.ids.push_back(id);
    }
  }
  void append_eos(Row& row) const {
    row.counted.push_back(row.ids.size());
    row.ids.push_back(0);
  }

  // The step's loss and gradient norm, every token on its own and added in double; and the sum of the tokens' norms.
  struct Plain {
    double loss = 0, norm = 0, sum_of_norms = 0, num_targets = 0;
  };
  static Plain plain_step(CausalLM& model, const std::vector<Row>& rows) {
    Plain plain;
    for (const Row& row : rows) plain.num_targets += static_cast<double>(row.counted.size());
    std::vector<at::Tensor> totals(model.parameters().size());
    for (const Row& row : rows)
      for (std::size_t t = 0; t < row.counted.size(); ++t) {
        const at::Tensor loss = logprobs_of(model, row)[static_cast<std::int64_t>(t)].div(-plain.num_targets);
        plain.loss += loss.item<double>();
        loss.backward();
        plain.sum_of_norms += grad_norm(model.parameters());
        for (std::size_t p = 0; p < totals.size(); ++p) {
          at::Tensor& grad = model.parameters()[p]->grad;
          totals[p] = totals[p].defined() ? totals[p] + grad.to(at::kDouble) : grad.to(at::kDouble);
          grad.zero_();
        }
      }
    double squares = 0;
    for (const at::Tensor& total : totals) squares += (total * total).sum().item<double>();
    plain.norm = std::sqrt(squares);
    return plain;
  }
  static at::Tensor logprobs_of(CausalLM& model, const Row& row) {
    std::vector<std::int32_t> from, targets;
    for (const std::size_t index : row.counted) {
      from.push_back(static_cast<std::int32_t>(index) - 1);
      targets.push_back(row.ids[index]);
    }
    const TokenBatch batch{row.ids, {{.begin = 0, .end = static_cast<std::int64_t>(row.ids.size())}}};
    return token_logprobs(model.forward(batch), int_tensor(from), int_tensor(targets), model.head()).logprobs;
  }

  TinyRun tiny_;
  Tokenizer tokenizer_ = tiny_tokenizer();
};

// One step over the whole file, cut in several ways, against rows that the test has put together. Log-probs are the
// same floats on both sides; the trainer adds those of a micro-batch in fp32, so losses differ by at most their number
// in roundings, and gradients by 850 roundings of each token's own (invariance_test.cpp).
template <class Plain>
void expect_step(RunConfig config, const std::vector<Row>& rows, const Plain& want) {
  std::size_t num_tokens = 0;
  for (const Row& row : rows) num_tokens += row.ids.size();
  for (const int micro_batch_tokens : {0, 1, 30}) {
    config.sft.micro_batch_tokens = micro_batch_tokens;
    Trainer trainer(config);
    const Metrics metrics = trainer.step();
    const double u = unit_roundoff(at::kFloat);
    EXPECT_NEAR(metrics.at("loss"), want.loss, (want.num_targets + 2) * u * want.loss);
    EXPECT_NEAR(metrics.at("grad_norm"), want.norm, 850 * u * want.sum_of_norms);
    EXPECT_EQ(metrics.at("num_tokens"), static_cast<double>(num_tokens));
    EXPECT_EQ(metrics.at("epoch"), 1);
  }
}

TEST_F(Sft, TheLossIsOverTheAnswersTokensOnly) {
  std::vector<Row> rows;
  for (int i = 0; i < 6; ++i) {
    const std::string question = std::to_string(i) + "+8=", answer = " " + std::to_string(i + 8);
    tiny_.add_row(i, 8, "sums.jsonl");
    Row& row = rows.emplace_back();
    append(row, question, false);
    append(row, answer, true);
    append_eos(row);
  }
  RunConfig config = tiny_.sft();
  config.data.train = tiny_.path("sums.jsonl");
  CausalLM model = CausalLM::load(tiny_.path("model"), {.trainable = true});
  expect_step(config, rows, plain_step(model, rows));
}

TEST_F(Sft, ConversationsCountEveryAssistantTurn) {
  const Json turns = Json::List{Json::Object{{"role", "user"}, {"content", "3+4="}},
                                Json::Object{{"role", "assistant"}, {"content", " 7"}},
                                Json::Object{{"role", "user"}, {"content", "yes"}},
                                Json::Object{{"role", "assistant"}, {"content", "<answer>7</answer>"}}};
  tiny_.write("chat.jsonl", Json(Json::Object{{"messages", turns}}).dump() + "\n");
  Row row;
  append(row, "user:3+4=<eos>assistant:", false);
  append(row, " 7<eos>", true);
  append(row, "user:yes<eos>assistant:", false);
  append(row, "<answer>7</answer><eos>", true);
  RunConfig config = tiny_.sft();
  config.data.train = tiny_.path("chat.jsonl");
  config.data.template_kind = TemplateKind::Chat;
  config.sft.batch_size = 1;
  CausalLM model = CausalLM::load(tiny_.path("model"), {.trainable = true});
  expect_step(config, {row}, plain_step(model, {row}));
}

// As the stage packs them: one sequence after another, none continuing another.
TEST_F(Sft, NeighboursInAPackDoNotMatter) {
  for (const DType dtype : {DType::Float32, DType::BFloat16}) {
    CausalLM model = CausalLM::load(tiny_.path("model"), {.dtype = dtype, .trainable = true});
    std::vector<Row> rows;
    TokenBatch packed;
    std::vector<std::int32_t> from, targets;
    for (int i = 0; i < 7; ++i) {
      Row& row = rows.emplace_back();
      row.ids = random_ids(9 * i + 3, static_cast<std::uint32_t>(i));
      const auto begin = static_cast<std::int64_t>(packed.tokens.size());
      for (std::size_t t = 1; t < row.ids.size(); ++t) {
        row.counted.push_back(t);
        from.push_back(static_cast<std::int32_t>(begin) + static_cast<std::int32_t>(t) - 1);
        targets.push_back(row.ids[t]);
      }
      packed.tokens.insert(packed.tokens.end(), row.ids.begin(), row.ids.end());
      packed.sequences.push_back({.begin = begin, .end = static_cast<std::int64_t>(packed.tokens.size())});
    }
    const at::Tensor together =
        token_logprobs(model.forward(packed), int_tensor(from), int_tensor(targets), model.head()).logprobs;
    std::int64_t at = 0;
    for (const Row& row : rows) {
      const at::Tensor alone = logprobs_of(model, row);
      EXPECT_TRUE(bit_equal(together.narrow(0, at, alone.numel()), alone));
      at += alone.numel();
    }
  }
}

TEST_F(Sft, GoesThroughTheRowsInTheirOrder) {
  RunConfig config = tiny_.sft(5);
  config.sft.batch_size = 8;  // 20 rows
  Trainer trainer(config);
  for (const double epoch : {0.4, 0.8, 1.2, 1.6, 2.0}) EXPECT_DOUBLE_EQ(trainer.step().at("epoch"), epoch);
  config.sft.drop_long = true;
  config.sft.max_length = 7;
  tiny_.write("mixed.jsonl",
              "{\"question\": \"1+1=\", \"completion\": \"2\"}\n"
              "{\"question\": \"1+1+1+1=\", \"completion\": \"4\"}\n");
  config.data.train = tiny_.path("mixed.jsonl");
  Trainer dropping(config);
  EXPECT_EQ(dropping.step().at("epoch"), 8);  // one row is left
}

}  // namespace
}  // namespace grpo::testing
