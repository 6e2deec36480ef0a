// Sampling alone, for the suite: groups of answers to given prompts, the seconds of every decode step.
//   generate_bench MODEL fp32|bf16 THREADS PROMPTS.json
// PROMPTS.json is a list of lists of ids. A request names what to sample, all of it optional:
//   {"prompts": [0, 1], "samples": 16, "tokens": 64, "cache_tokens": 65536, "stop": false}
// "stop": stop ids end an answer. The line back: {"seconds", "lengths" of the answers, "steps": [[tokens drawn so far,
// seconds since the start], ...] after every decode step}. The first step holds the prompts and their first tokens.
#include <chrono>

#include <grpo/grpo.h>

#include "tests/bench/serve.h"

namespace {

using namespace grpo;

std::vector<std::vector<std::int32_t>> read_prompts(const std::string& path) {
  const Json file = load_tree(path);
  std::vector<std::vector<std::int32_t>> prompts;
  for (const Json& prompt : file.as_list()) {
    prompts.emplace_back();
    for (const Json& id : prompt.as_list()) prompts.back().push_back(static_cast<std::int32_t>(id.as_int()));
  }
  return prompts;
}

Json generate(const Sampler& sampler, const std::vector<std::vector<std::int32_t>>& prompts, const Json& request) {
  std::vector<std::size_t> chosen;
  if (const Json* which = request.find("prompts")) {
    for (const Json& index : which->as_list()) chosen.push_back(static_cast<std::size_t>(index.as_int()));
  } else {
    for (std::size_t i = 0; i < prompts.size(); ++i) chosen.push_back(i);
  }
  std::vector<SampleRequest> requests;
  for (const std::size_t row : chosen)
    requests.push_back({.ids = prompts.at(row),
                        .num_samples = static_cast<int>(bench::int_of(request, "samples", 1)),
                        .address = {.stage = kStageGenerate, .row = row}});
  const Json* stop = request.find("stop");
  const auto start = std::chrono::steady_clock::now();
  const auto since_start = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  Json::List steps;
  SamplerOptions options{.max_new_tokens = bench::int_of(request, "tokens", 64),
                         .ignore_eos = !(stop && stop->as_bool()),
                         .cache_tokens = bench::int_of(request, "cache_tokens", 65536)};
  options.progress = [&](std::int64_t, std::int64_t, std::int64_t tokens) {
    steps.push_back(Json::List{tokens, since_start()});
  };
  const auto answers = sampler.generate(requests, options);
  const double seconds = since_start();
  Json::List lengths;
  for (const auto& group : answers)
    for (const Completion& answer : group) lengths.push_back(answer.ids.size());
  return Json::Object{{"seconds", seconds}, {"steps", steps}, {"lengths", lengths}};
}

void serve_model(const std::string& path, const std::string& dtype, int threads, const std::string& prompts_path) {
  set_threads(threads);
  const CausalLM model =
      CausalLM::load(path, {.dtype = dtype == "bf16" ? DType::BFloat16 : DType::Float32, .trainable = false});
  const auto prompts = read_prompts(prompts_path);
  const Sampler sampler(model, nullptr);
  bench::serve([&](const Json& request) { return generate(sampler, prompts, request); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: generate_bench MODEL fp32|bf16 THREADS PROMPTS.json\n", stderr);
    return 2;
  }
  return bench::run([&] { serve_model(argv[1], argv[2], std::atoi(argv[3]), argv[4]); });
}
