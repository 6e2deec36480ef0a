// One update alone, and the log-probs alone, of answers that are given, for the suite.
//   update_bench MODEL fp32|bf16 THREADS ANSWERS.json
// ANSWERS.json: {"prompt": ids, "answers": [ids, ...]}. Every answer carries a copy of its prompt, and all are one
// micro-batch. A request names the "work":
//   update    forward, loss, backward, clipping, AdamW
//   logprobs  forward without a graph
//   gemm      LibTorch's product of two 2048 x 2048 matrices of the model's type
// The line back has "seconds", and "tokens", "targets" and "grad_norm" (of the last update), or "gflops".
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>

#include <grpo/grpo.h>

#include "tests/bench/serve.h"

namespace {

using namespace grpo;

std::vector<std::int32_t> ids_of(const Json& list) {
  std::vector<std::int32_t> ids;
  for (const Json& id : list.as_list()) ids.push_back(static_cast<std::int32_t>(id.as_int()));
  return ids;
}

// Answers with advantages of both signs; no log-prob as sampled is looked at on policy.
RolloutGroup read_group(const std::string& path) {
  const Json file = load_tree(path);
  RolloutGroup group{.prompt = {.ids = ids_of(file.at("prompt"))}};
  for (const Json& answer : file.at("answers").as_list()) {
    Completion& completion = group.completions.emplace_back();
    completion.ids = ids_of(answer);
    completion.logprobs.resize(completion.ids.size());
    group.advantages.push_back(group.advantages.size() % 2 == 0 ? 1 : -1);
  }
  return group;
}

template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The median of products over about half a second.
Json gemm(DType dtype) {
  constexpr std::int64_t kSize = 2048;
  const at::Tensor a = at::randn({kSize, kSize}).to(dtype == DType::BFloat16 ? at::kBFloat16 : at::kFloat);
  std::vector<double> times;
  const double seconds = seconds_of([&] {
    for (double spent = 0; spent < 0.5 || times.size() < 5; spent += times.back())
      times.push_back(seconds_of([&] { at::mm(a, a); }));
  });
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return Json::Object{{"seconds", seconds}, {"gflops", 2e-9 * kSize * kSize * kSize / times[times.size() / 2]}};
}

void serve_updates(const std::string& path, DType dtype, int threads, const std::string& answers_path) {
  set_threads(threads);
  const CausalLM model = CausalLM::load(path, {.dtype = dtype, .trainable = true});
  const std::vector<RolloutGroup> groups = {read_group(answers_path)};
  const PackedBatch batch = pack(groups, {.max_tokens = 1 << 20, .share_prefix = false}).at(0);
  const Denominators denominators = count_denominators({batch});
  OptimizerSection rates;
  rates.learning_rate = 1e-9;  // the work stays the same from update to update
  Optimizer optimizer(model.parameters(), rates, 1 << 20);
  LossConfig loss;
  loss.beta = 0;
  double grad_norm = 0;
  const auto update = [&] {
    policy_loss(batch_logprobs(model, batch, 1.0).logprobs, {}, loss_batch(batch), loss, denominators).backward();
    grad_norm = optimizer.step().grad_norm;
  };
  const auto logprobs = [&] {
    const at::NoGradGuard no_grad;
    batch_logprobs(model, batch, 1.0);
  };
  bench::serve([&](const Json& request) -> Json {
    const std::string& work = request.at("work").as_string();
    if (work == "gemm") return gemm(dtype);
    GRPO_CHECK(work == "update" || work == "logprobs", "work: expected update, logprobs or gemm, got " + work);
    const double seconds = work == "update" ? seconds_of(update) : seconds_of(logprobs);
    return Json::Object{{"seconds", seconds},
                        {"tokens", batch.tokens.tokens.size()},
                        {"targets", batch.targets.size()},
                        {"grad_norm", grad_norm}};
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: update_bench MODEL fp32|bf16 THREADS ANSWERS.json\n", stderr);
    return 2;
  }
  const std::string type = argv[2];
  return bench::run(
      [&] { serve_updates(argv[1], type == "bf16" ? DType::BFloat16 : DType::Float32, std::atoi(argv[3]), argv[4]); });
}
