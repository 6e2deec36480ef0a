// KvCache: the same bits as the training forward, and the book-keeping of blocks.
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include <ATen/core/Tensor.h>

#include <grpo/model.h>

#include "base/error_text.h"
#include "model/families.h"
#include "model/kv_cache.h"
#include "model/tiny_model.h"

namespace grpo::inline GRPO_ABI {
namespace {

using testing::separate_sequences;
using testing::some_tokens;
using Tokens = std::vector<std::int32_t>;

struct Case {
  const char* family;
  DType dtype;
  int threads;
};

class CacheBits : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { set_threads(GetParam().threads); }
  void TearDown() override { set_threads(0); }
};

// Feeds sequences step by step and keeps each one's hidden rows.
class Decoder {
 public:
  explicit Decoder(const CausalLM& model, std::int64_t capacity) : model_(model), cache_(model, capacity) {
    // Whatever the cache held before must not matter, not even NaN.
    for (at::Tensor& store : cache_.impl().stores) store.fill_(std::numeric_limits<float>::quiet_NaN());
  }
  KvCache& cache() { return cache_; }

  void feed(const std::vector<std::pair<std::int32_t, Tokens>>& parts) {
    TokenBatch batch;
    for (const auto& [sequence, tokens] : parts) {
      const auto begin = static_cast<std::int64_t>(batch.tokens.size());
      batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
      batch.sequences.push_back(
          {.begin = begin, .end = static_cast<std::int64_t>(batch.tokens.size()), .cache = sequence});
    }
    const at::Tensor hidden = model_.forward(batch, &cache_);
    for (const BatchSequence& s : batch.sequences) rows[s.cache].push_back(hidden.slice(0, s.begin, s.end));
  }

  std::map<std::int32_t, std::vector<at::Tensor>> rows;

 private:
  const CausalLM& model_;
  KvCache cache_;
};

bool rows_equal(const std::vector<at::Tensor>& parts, const at::Tensor& whole, std::int64_t from) {
  for (const at::Tensor& part : parts) {
    if (!part.equal(whole.slice(0, from, from + part.size(0)))) return false;
    from += part.size(0);
  }
  return from == whole.size(0);
}

TEST_P(CacheBits, PrefillAndDecodeGiveTheTrainingForward) {
  const CausalLM model =
      CausalLM::init(testing::tiny_config(GetParam().family), 3, {.dtype = GetParam().dtype, .trainable = true});
  testing::vary_vectors(model);
  const Tokens prompt = some_tokens(45, 1, 70), other = some_tokens(33, 2, 70);
  const std::vector<Tokens> answers{some_tokens(40, 3, 70), some_tokens(21, 4, 70), some_tokens(1, 5, 70)};
  const auto joined = [&](const Tokens& answer) {
    Tokens tokens = prompt;
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    return tokens;
  };

  std::vector<at::Tensor> whole;  // each alone
  for (const Tokens& answer : answers) whole.push_back(model.forward(separate_sequences({joined(answer)})));
  const at::Tensor whole_other = model.forward(separate_sequences({other}));
  ASSERT_TRUE(whole[0].requires_grad());

  // Packed, prompt computed once.
  TokenBatch packed = separate_sequences({other, prompt, answers[0], answers[1], answers[2]});
  for (std::size_t i = 2; i < 5; ++i) packed.sequences[i].prefix = 1;
  const at::Tensor shared = model.forward(packed);
  const auto part = [&](std::size_t i) { return shared.slice(0, packed.sequences[i].begin, packed.sequences[i].end); };
  EXPECT_TRUE(rows_equal({part(0)}, whole_other, 0));
  EXPECT_TRUE(rows_equal({part(1), part(2)}, whole[0], 0));
  EXPECT_TRUE(rows_equal({part(3)}, whole[1], 45));
  EXPECT_TRUE(rows_equal({part(4)}, whole[2], 45));

  // Through a cache: chunked prefill, forks, then one token a step in batches whose members come and go.
  Decoder decoder(model, 1024);
  const std::int32_t first = decoder.cache().open(), late = decoder.cache().open();
  decoder.feed({{first, {prompt.begin(), prompt.begin() + 20}}});
  decoder.feed({{late, {other[0]}}, {first, {prompt.begin() + 20, prompt.begin() + 21}}});
  decoder.feed({{first, {prompt.begin() + 21, prompt.end()}}});
  const std::vector<std::int32_t> members{decoder.cache().fork(first), decoder.cache().fork(first), first};
  for (std::size_t step = 0; step < 40; ++step) {
    std::vector<std::pair<std::int32_t, Tokens>> parts;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (step < answers[i].size()) parts.push_back({members[i], {answers[i][step]}});
    }
    if (step == 7) parts.insert(parts.begin() + 1, {late, {other.begin() + 1, other.end()}});
    decoder.feed(parts);
  }
  EXPECT_TRUE(rows_equal(decoder.rows[members[0]], whole[0], 45));
  EXPECT_TRUE(rows_equal(decoder.rows[members[1]], whole[1], 45));
  EXPECT_TRUE(rows_equal(decoder.rows[first], whole[2], 0));
  EXPECT_TRUE(rows_equal(decoder.rows[late], whole_other, 0));
  EXPECT_FALSE(decoder.rows[first][0].requires_grad());
}

INSTANTIATE_TEST_SUITE_P(All, CacheBits, ::testing::ValuesIn([] {
                           std::vector<Case> cases;
                           for (const Family& family : families()) {
                             for (const DType dtype : {DType::Float32, DType::BFloat16}) {
                               for (const int threads : {1, 2}) cases.push_back({family.model_type, dtype, threads});
                             }
                           }
                           return cases;
                         }()),
                         [](const auto& test) {
                           return std::string(test.param.family) +
                                  (test.param.dtype == DType::Float32 ? "_fp32_" : "_bf16_") +
                                  std::to_string(test.param.threads);
                         });

TEST(KvCache, CountsBlocks) {
  EXPECT_EQ(KvCache::blocks_needed(0, 1), 1);
  EXPECT_EQ(KvCache::blocks_needed(0, 32), 1);
  EXPECT_EQ(KvCache::blocks_needed(31, 1), 0);
  EXPECT_EQ(KvCache::blocks_needed(32, 1), 1);
  EXPECT_EQ(KvCache::blocks_needed(5, 92), 3);

  const CausalLM model = CausalLM::init(testing::tiny_config(), 1, {});
  Decoder decoder(model, 5 * 32 - 31);  // rounded up
  KvCache& cache = decoder.cache();
  EXPECT_EQ(cache.free_blocks(), 5);
  const std::int32_t a = cache.open();
  decoder.feed({{a, some_tokens(64, 1, 70)}});
  EXPECT_EQ(cache.length(a), 64);
  EXPECT_EQ(cache.free_blocks(), 3);
  const std::int32_t whole = cache.fork(a);  // two whole blocks: nothing to copy
  EXPECT_EQ(cache.free_blocks(), 3);
  decoder.feed({{a, {1}}});
  const std::int32_t partial = cache.fork(a);  // the third block is copied
  EXPECT_EQ(cache.length(partial), 65);
  EXPECT_EQ(cache.free_blocks(), 1);
  cache.close(a);  // its first two blocks live on in the forks
  EXPECT_EQ(cache.free_blocks(), 2);
  cache.close(whole);
  cache.close(partial);
  EXPECT_EQ(cache.free_blocks(), 5);
}

TEST(KvCache, FullIsAnErrorThatChangesNothing) {
  const CausalLM model = CausalLM::init(testing::tiny_config(), 1, {});
  Decoder decoder(model, 64);
  KvCache& cache = decoder.cache();
  const std::int32_t a = cache.open(), b = cache.open();
  decoder.feed({{a, some_tokens(20, 1, 70)}});
  const std::string text = error_text([&] { decoder.feed({{a, some_tokens(13, 1, 70)}, {b, {1}}}); });
  EXPECT_EQ(text, "forward: the cache is full: 2 more blocks of 32 positions are needed, 1 of 2 are free");
  EXPECT_EQ(cache.length(a), 20);
  EXPECT_EQ(cache.free_blocks(), 1);
  decoder.feed({{a, some_tokens(12, 1, 70)}, {b, {1}}});
  EXPECT_EQ(cache.free_blocks(), 0);
  EXPECT_NE(error_text([&] { cache.fork(b); }).find("cache is full"), std::string::npos);
  EXPECT_EQ(cache.length(cache.fork(a)), 32);  // whole blocks need no copy
}

TEST(KvCache, ClosedSequencesAreErrors) {
  const CausalLM model = CausalLM::init(testing::tiny_config(), 1, {});
  KvCache cache(model, 64);
  const std::int32_t a = cache.open();
  cache.close(a);
  EXPECT_EQ(error_text([&] { cache.close(a); }), "KvCache::close: cache sequence 0 is not open");
  EXPECT_EQ(error_text([&] { cache.fork(a); }), "KvCache::fork: cache sequence 0 is not open");
  EXPECT_EQ(error_text([&] { static_cast<void>(cache.length(-1)); }), "KvCache::length: cache sequence -1 is not open");
  EXPECT_NE(error_text([&] { KvCache(model, 0); }).find("expected a capacity"), std::string::npos);
}

TEST(Forward, RefusesBadBatches) {
  const CausalLM model = CausalLM::init(testing::tiny_config(), 1, {});
  KvCache cache(model, 1024);
  const std::int32_t a = cache.open();
  const auto says = [&](const TokenBatch& batch, bool cached) {
    return error_text([&] { model.forward(batch, cached ? &cache : nullptr); });
  };
  EXPECT_EQ(says({}, false), "forward: expected at least one token");
  EXPECT_EQ(says({{1, 70}, {{0, 2}}}, false), "forward: tokens[1]: expected an id from 0 to 69, got 70");
  EXPECT_EQ(says({{1, -1}, {{0, 2}}}, false), "forward: tokens[1]: expected an id from 0 to 69, got -1");
  EXPECT_EQ(says({{1, 2}, {{0, 1}}}, false), "forward: sequences cover 1 tokens, expected all 2");
  EXPECT_NE(says({{1, 2}, {{0, 1}, {0, 2}}}, false).find("expected rows from 1 on, got [0, 2)"), std::string::npos);
  EXPECT_NE(says({{1, 2}, {{0, 3}}}, false).find("cover 3 tokens, expected all 2"), std::string::npos);
  EXPECT_NE(says({{1, 2}, {{0, 2}, {2, 2}}}, false).find("sequences[1]: expected rows from 2 on"), std::string::npos);
  EXPECT_NE(says({{1, 2}, {{0, 1, 0}, {1, 2}}}, false).find("sequences[0].prefix: expected -1 or an earlier"),
            std::string::npos);
  EXPECT_NE(says({{1, 2, 3}, {{0, 1}, {1, 2, 0}, {2, 3, 1}}}, false).find("sequence 1 has a prefix itself"),
            std::string::npos);
  EXPECT_NE(says({{1}, {{0, 1, -1, 0}}}, false).find("expected -1 without a cache, got 0"), std::string::npos);
  EXPECT_NE(says({{1}, {{0, 1, -1, 3}}}, true).find("cache sequence 3 is not open"), std::string::npos);
  EXPECT_NE(says({{1, 2}, {{0, 1, -1, a}, {1, 2, 0, a}}}, true).find("expected -1 with a cache"), std::string::npos);
  EXPECT_NE(says({{1, 2}, {{0, 1, -1, a}, {1, 2, -1, a}}}, true).find("occurs twice"), std::string::npos);
  EXPECT_EQ(says(separate_sequences({some_tokens(257, 1, 70)}), false),
            "forward: sequences[0] is 257 tokens long, the model's context is 256");

  TokenBatch batch = separate_sequences({some_tokens(200, 1, 70), some_tokens(57, 1, 70)});
  batch.sequences[1].prefix = 0;
  EXPECT_EQ(says(batch, false), "forward: sequences[1] is 257 tokens long, the model's context is 256");
  batch = separate_sequences({some_tokens(256, 1, 70)});
  batch.sequences[0].cache = a;
  model.forward(batch, &cache);
  EXPECT_EQ(says({{1}, {{0, 1, -1, a}}}, true), "forward: sequences[0] is 257 tokens long, the model's context is 256");

  const CausalLM other = CausalLM::init(testing::tiny_config(), 1, {.dtype = DType::BFloat16});
  EXPECT_EQ(error_text([&] {
              other.forward({{1}, {{0, 1, -1, a}}}, &cache);
            }),
            "forward: the cache was made for another model");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
