#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <deque>
#include <string>

#include <fmt/format.h>
#include <grpo/ops.h>
#include <grpo/rollout.h>

#include "base/random.h"
#include "model/kv_cache.h"
#include "ops/decode.h"
#include "rollout/sampler_sizes.h"

namespace grpo::inline GRPO_ABI {
namespace {

// A prompt in the cache with answers still to start.
struct OpenPrompt {
  std::size_t request = 0;
  std::int32_t cache = -1;
  at::Tensor last_hidden;  // [1, D], predicts every answer's first token
  int next_sample = 0;
};

// An answer that is being written.
struct Live {
  std::size_t request = 0;
  int sample = 0;
  std::int32_t cache = -1;
  std::int64_t limit = 0;     // tokens it may have
  std::int64_t reserved = 0;  // blocks held for it
  std::string text;           // decoded so far; only kept up with when there are stop strings
  std::size_t stop_at = std::string::npos;
  std::unique_ptr<Tokenizer::Stream> stream;
};

class Generation {
 public:
  Generation(const CausalLM& model, const Tokenizer* tokenizer, const std::vector<SampleRequest>& requests,
             const SamplerOptions& options)
      : model_(model),
        tokenizer_(tokenizer),
        requests_(requests),
        options_(options),
        capacity_(check_requests()),
        cache_(model, capacity_ * kKvBlock) {
    free_ = cache_.free_blocks();
    for (const std::string& stop : options.stop) longest_stop_ = std::max(longest_stop_, stop.size());
    results_.resize(requests.size());
    for (std::size_t r = 0; r < requests.size(); ++r) {
      results_[r].resize(static_cast<std::size_t>(requests[r].num_samples));
      total_ += requests[r].num_samples;
    }
  }

  std::vector<std::vector<Completion>> run() {
    while (next_request_ < requests_.size() || !open_.empty() || !live_.empty()) {
      if (options_.cancelled && options_.cancelled()) {
        cancel();
        break;
      }
      admit();
      decode_step();
      if (options_.progress) options_.progress(finished_, total_, num_tokens_);
    }
    return std::move(results_);
  }

 private:
  std::int64_t prompt_length(std::size_t r) const { return static_cast<std::int64_t>(requests_[r].ids.size()); }
  std::int64_t answer_limit(std::size_t r) const {
    return std::min(options_.max_new_tokens, model_.config().max_positions - prompt_length(r));
  }
  std::int64_t prompt_blocks(std::size_t r) const { return KvCache::blocks_needed(0, prompt_length(r)); }
  // Blocks of its own that an answer can come to hold.
  std::int64_t answer_blocks(std::size_t r) const {
    return own_blocks(prompt_length(r), prompt_length(r) + answer_limit(r));
  }

  // Blocks the cache gets: the budget, or less when everything fits in less.
  std::int64_t check_requests() const {
    GRPO_CHECK(options_.max_new_tokens >= 1,
               fmt::format("generate: expected max_new_tokens >= 1, got {}", options_.max_new_tokens));
    GRPO_CHECK(options_.stop.empty() || tokenizer_, "generate: stop strings need a tokenizer");
    for (const std::string& stop : options_.stop) GRPO_CHECK(!stop.empty(), "generate: a stop string is empty");
    const std::int64_t budget = options_.cache_tokens / kKvBlock;
    std::int64_t all = 0;
    for (std::size_t r = 0; r < requests_.size(); ++r) {
      const std::int64_t length = prompt_length(r), context = model_.config().max_positions;
      GRPO_CHECK(length > 0, fmt::format("generate: prompt {} is empty", r));
      GRPO_CHECK(requests_[r].num_samples >= 1, fmt::format("generate: prompt {}: expected at least one sample", r));
      GRPO_CHECK(length < context,
                 fmt::format("generate: prompt {} has {} tokens, the model's context {}", r, length, context));
      const std::int64_t one = prompt_blocks(r) + answer_blocks(r);
      GRPO_CHECK(one <= budget,
                 fmt::format("generate: prompt {} with {} new tokens needs {} cached tokens, the budget is {}; raise "
                             "cache_tokens or lower max_new_tokens",
                             r, answer_limit(r), one * kKvBlock, options_.cache_tokens));
      all += prompt_blocks(r) + requests_[r].num_samples * answer_blocks(r);
    }
    return std::min(all, budget);
  }

  // Starts answers while the budget holds their worst case: first of prompts already cached, then of new prompts.
  void admit() {
    std::vector<std::size_t> prefill;
    std::int64_t prefill_tokens = 0;
    for (std::size_t p = 0; p < open_.size(); ++p) start_answers(open_[p]);
    while (next_request_ < requests_.size()) {
      const std::size_t r = next_request_;
      if (!open_.empty() && open_.back().next_sample < requests_[open_.back().request].num_samples) break;
      if (free_ < prompt_blocks(r) + answer_blocks(r)) break;
      if (!prefill.empty() && prefill_tokens + prompt_length(r) > kPrefillTokens) {
        prefill_prompts(prefill);
        prefill.clear();
        prefill_tokens = 0;
      }
      free_ -= prompt_blocks(r);
      OpenPrompt& prompt = open_.emplace_back();
      prompt.request = r;
      prefill.push_back(open_.size() - 1);
      prefill_tokens += prompt_length(r);
      ++next_request_;
      start_answers(prompt);
    }
    if (!prefill.empty()) prefill_prompts(prefill);
    draw_first_tokens();
    while (!open_.empty() && open_.front().next_sample == requests_[open_.front().request].num_samples) {
      cache_.close(open_.front().cache);
      closing_.push_back(open_.front().request);
      open_.pop_front();
    }
    release_prompts();
  }

  // Reserves room for as many of the prompt's answers as fit; their first tokens are drawn after its prefill.
  void start_answers(OpenPrompt& prompt) {
    const std::int64_t need = answer_blocks(prompt.request);
    while (prompt.next_sample < requests_[prompt.request].num_samples && free_ >= need) {
      free_ -= need;
      Live answer;
      answer.request = prompt.request;
      answer.sample = prompt.next_sample++;
      answer.limit = answer_limit(prompt.request);
      answer.reserved = need;
      starting_.push_back(std::move(answer));
    }
  }

  void prefill_prompts(const std::vector<std::size_t>& which) {
    TokenBatch batch;
    for (std::size_t p : which) {
      OpenPrompt& prompt = open_[p];
      prompt.cache = cache_.open();
      const std::vector<std::int32_t>& ids = requests_[prompt.request].ids;
      const auto begin = static_cast<std::int64_t>(batch.tokens.size());
      batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
      batch.sequences.push_back({begin, static_cast<std::int64_t>(batch.tokens.size()), -1, prompt.cache});
    }
    const at::Tensor hidden = model_.forward(batch, &cache_);
    for (std::size_t i = 0; i < which.size(); ++i)
      open_[which[i]].last_hidden = hidden.narrow(0, batch.sequences[i].end - 1, 1).clone();
  }

  void draw_first_tokens() {
    std::vector<at::Tensor> rows;
    for (Live& answer : starting_) {
      const OpenPrompt& prompt = open_prompt(answer.request);
      answer.cache = cache_.fork(prompt.cache);
      if (!options_.stop.empty()) answer.stream = std::make_unique<Tokenizer::Stream>(*tokenizer_, DecodeOptions{true});
      rows.push_back(prompt.last_hidden);
    }
    const std::size_t first = live_.size();
    for (Live& answer : starting_) live_.push_back(std::move(answer));
    starting_.clear();
    if (!rows.empty()) draw(at::cat(rows, 0), first);
  }

  const OpenPrompt& open_prompt(std::size_t request) const {
    const auto it = std::find_if(open_.begin(), open_.end(), [&](const OpenPrompt& p) { return p.request == request; });
    GRPO_ASSERT(it != open_.end());
    return *it;
  }

  void decode_step() {
    if (live_.empty()) return;
    TokenBatch batch;
    for (const Live& answer : live_) {
      const auto row = static_cast<std::int64_t>(batch.tokens.size());
      batch.tokens.push_back(result(answer).ids.back());
      batch.sequences.push_back({row, row + 1, -1, answer.cache});
    }
    draw(model_.forward(batch, &cache_), 0);
  }

  Completion& result(const Live& answer) { return results_[answer.request][static_cast<std::size_t>(answer.sample)]; }

  // Draws the next token of live_[first ...], one per hidden row, and lets finished answers leave.
  void draw(const at::Tensor& hidden, std::size_t first) {
    const SampleOptions sampling{options_.temperature, options_.top_k, options_.top_p, options_.min_p};
    const std::int64_t rows = hidden.size(0);
    for (std::int64_t begin = 0; begin < rows; begin += kSamplerLogitRows) {
      const std::int64_t count = std::min(kSamplerLogitRows, rows - begin);
      std::vector<double> uniforms;
      for (std::int64_t i = begin; i < begin + count; ++i)
        uniforms.push_back(next_uniform(live_[first + static_cast<std::size_t>(i)]));
      const std::vector<SampledToken> tokens =
          ops::draw_next(hidden.narrow(0, begin, count), model_.head(), uniforms, sampling, logits_);
      for (std::int64_t i = 0; i < count; ++i)
        append(live_[first + static_cast<std::size_t>(begin + i)], tokens[static_cast<std::size_t>(i)]);
    }
    std::erase_if(live_, [](const Live& answer) { return answer.limit == 0; });
  }

  double next_uniform(const Live& answer) {
    const SampleAddress& a = requests_[answer.request].address;
    return uniform(a.seed, RandomAddress{.stage = a.stage,
                                         .step = a.step,
                                         .row = a.row,
                                         .occurrence = a.occurrence,
                                         .sample = static_cast<std::uint64_t>(answer.sample),
                                         .position = result(answer).ids.size()});
  }

  void append(Live& answer, const SampledToken& token) {
    Completion& completion = result(answer);
    completion.ids.push_back(token.token);
    completion.logprobs.push_back(token.logprob);
    ++num_tokens_;
    const std::vector<std::int32_t>& eos = model_.config().eos_ids;
    const bool is_eos = !options_.ignore_eos && std::find(eos.begin(), eos.end(), token.token) != eos.end();
    if (is_eos || completes_stop_string(answer, token.token)) {
      finish(answer, FinishReason::Stop);
    } else if (static_cast<std::int64_t>(completion.ids.size()) == answer.limit) {
      finish(answer, FinishReason::Length);
    }
  }

  bool completes_stop_string(Live& answer, std::int32_t token) {
    if (options_.stop.empty()) return false;
    const std::size_t from = answer.text.size() < longest_stop_ ? 0 : answer.text.size() - longest_stop_ + 1;
    answer.text += answer.stream->push(token);
    for (const std::string& stop : options_.stop)
      answer.stop_at = std::min(answer.stop_at, answer.text.find(stop, from));
    return answer.stop_at != std::string::npos;
  }

  // Writes the text, frees the cache, and marks the answer as gone (limit 0).
  void finish(Live& answer, FinishReason reason) {
    Completion& completion = result(answer);
    completion.finish_reason = reason;
    if (answer.stop_at != std::string::npos) {
      completion.text = answer.text.substr(0, answer.stop_at);
    } else if (tokenizer_) {
      std::span<const std::int32_t> ids(completion.ids);
      if (reason == FinishReason::Stop) ids = ids.first(ids.size() - 1);
      completion.text = tokenizer_->decode(ids, {.skip_special = true});
    }
    cache_.close(answer.cache);
    free_ += answer.reserved;
    answer.limit = 0;
    ++finished_;
    release_prompts();
  }

  // A prompt's blocks come back with its last answer, for its answers share them.
  void release_prompts() {
    std::erase_if(closing_, [&](std::size_t request) {
      for (const Live& answer : live_)
        if (answer.request == request && answer.limit > 0) return false;
      free_ += prompt_blocks(request);
      return true;
    });
  }

  void cancel() {
    for (Live& answer : live_) finish(answer, FinishReason::Cancelled);
    for (auto& request : results_)
      for (Completion& completion : request)
        if (completion.ids.empty()) completion.finish_reason = FinishReason::Cancelled;
  }

  const CausalLM& model_;
  const Tokenizer* tokenizer_;
  const std::vector<SampleRequest>& requests_;
  const SamplerOptions& options_;
  std::int64_t capacity_;  // blocks
  KvCache cache_;
  at::Tensor logits_;      // scratch of the draws
  std::int64_t free_ = 0;  // blocks not promised to anyone
  std::size_t longest_stop_ = 0;
  std::size_t next_request_ = 0;
  std::deque<OpenPrompt> open_;
  std::vector<std::size_t> closing_;  // requests whose answers have all started
  std::vector<Live> starting_, live_;
  std::vector<std::vector<Completion>> results_;
  std::int64_t finished_ = 0, total_ = 0, num_tokens_ = 0;
};

}  // namespace

Sampler::Sampler(const CausalLM& model, const Tokenizer* tokenizer) : model_(&model), tokenizer_(tokenizer) {}

std::vector<std::vector<Completion>> Sampler::generate(const std::vector<SampleRequest>& requests,
                                                       const SamplerOptions& options) const {
  if (requests.empty()) return {};
  return Generation(*model_, tokenizer_, requests, options).run();
}

}  // namespace grpo::inline GRPO_ABI
