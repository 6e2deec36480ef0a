// Tokenizer::train: byte-pair counts, kept up to date while pairs are merged.
#include <algorithm>
#include <map>
#include <queue>
#include <unordered_set>

#include "base/utf8.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

using Pair = std::pair<std::int32_t, std::int32_t>;

struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    return std::hash<std::uint64_t>{}(static_cast<std::uint64_t>(pair.first) << 32 |
                                      static_cast<std::uint32_t>(pair.second));
  }
};

Json byte_level(bool add_prefix_space) {
  return Json(Json::Object{
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", true}});
}

// The tokenizer.json of a vocabulary whose first tokens are the added ones.
Json tokenizer_tree(const Tokenizer::TrainOptions& options, const std::vector<std::string>& vocabulary,
                    const std::vector<Pair>& merges) {
  Json::List added;
  const std::size_t num_special = options.special_tokens.size();
  for (std::size_t id = 0; id < num_special + options.atomic_tokens.size(); ++id) {
    added.push_back(Json::Object{{"id", id},
                                 {"content", vocabulary[id]},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", id < num_special}});
  }
  Json::Object vocab;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) vocab.emplace_back(vocabulary[id], id);
  Json::List pairs;
  for (const auto& [left, right] : merges) {
    pairs.push_back(Json::List{Json(vocabulary[static_cast<std::size_t>(left)]),
                               Json(vocabulary[static_cast<std::size_t>(right)])});
  }
  Json words = byte_level(false);
  if (options.split_digits) {
    words = Json::Object{
        {"type", "Sequence"},
        {"pretokenizers",
         Json(Json::List{Json(Json::Object{{"type", "Digits"}, {"individual_digits", true}}), byte_level(false)})}};
  }
  return Json(Json::Object{{"version", "1.0"},
                           {"truncation", nullptr},
                           {"padding", nullptr},
                           {"added_tokens", Json(std::move(added))},
                           {"normalizer", nullptr},
                           {"pre_tokenizer", std::move(words)},
                           {"post_processor", nullptr},
                           {"decoder", byte_level(true)},
                           {"model", Json(Json::Object{{"type", "BPE"},
                                                       {"dropout", nullptr},
                                                       {"unk_token", nullptr},
                                                       {"continuing_subword_prefix", nullptr},
                                                       {"end_of_word_suffix", nullptr},
                                                       {"fuse_unk", false},
                                                       {"byte_fallback", false},
                                                       {"ignore_merges", false},
                                                       {"vocab", Json(std::move(vocab))},
                                                       {"merges", Json(std::move(pairs))}})}});
}

// Added tokens and bytes, before any merge.
std::vector<std::string> base_vocabulary(const Tokenizer::TrainOptions& options) {
  std::vector<std::string> out = options.special_tokens;
  out.insert(out.end(), options.atomic_tokens.begin(), options.atomic_tokens.end());
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    if (options.alphabet.empty() || options.alphabet.find(c) != std::string::npos) {
      out.push_back(to_byte_alphabet(std::string(1, c)));
    }
  }
  std::unordered_set<std::string> seen;
  for (const std::string& token : out) {
    GRPO_CHECK(!token.empty() && find_invalid_utf8(token) == token.size(),
               "Tokenizer::train: expected tokens that are not empty and valid UTF-8");
    GRPO_CHECK(seen.insert(token).second, "Tokenizer::train: token \"" + token + "\" occurs twice (or is a byte's)");
  }
  GRPO_CHECK(options.vocab_size >= static_cast<std::int64_t>(out.size()) &&
                 options.vocab_size <= Vocabulary::kMaxId + std::int64_t{1},
             "Tokenizer::train: vocab_size: expected at least " + std::to_string(out.size()) +
                 " (bytes, special and atomic tokens), got " + std::to_string(options.vocab_size));
  return out;
}

// Each distinct word of the texts with its count.
std::map<std::string, std::int64_t> count_words(std::span<const std::string> texts, const TokenizerModel& model) {
  std::map<std::string, std::int64_t> counts;
  std::vector<AddedTokens::Piece> pieces;
  for (const std::string& text : texts) {
    const std::string valid = replace_invalid_utf8(text);
    pieces.clear();
    model.raw_tokens.split(valid, true, pieces);
    for (const AddedTokens::Piece& piece : pieces) {
      if (piece.id < 0)
        model.pretokenizer.words(piece.text,
                                 [&](const Pretokenizer::Word& word) { ++counts[std::string(word.bytes)]; });
    }
  }
  return counts;
}

class Trainer {
 public:
  Trainer(std::vector<std::string> vocabulary, const std::map<std::string, std::int64_t>& counts)
      : vocabulary_(std::move(vocabulary)), taken_(vocabulary_.begin(), vocabulary_.end()) {
    std::int32_t byte_ids[256];
    std::fill(std::begin(byte_ids), std::end(byte_ids), -1);
    for (std::size_t id = 0; id < vocabulary_.size(); ++id) {
      const auto bytes = from_byte_alphabet(vocabulary_[id]);
      if (bytes && bytes->size() == 1 && vocabulary_[id] == to_byte_alphabet(*bytes)) {
        byte_ids[static_cast<unsigned char>((*bytes)[0])] = static_cast<std::int32_t>(id);
      }
    }
    for (const auto& [text, count] : counts) {
      Word word{{}, count};
      for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        GRPO_CHECK(byte_ids[byte] >= 0, "Tokenizer::train: the texts hold byte " + std::to_string(byte) +
                                            ", which the alphabet does not have");
        word.ids.push_back(byte_ids[byte]);
      }
      words_.push_back(std::move(word));
      count_pairs(words_.size() - 1, 1);
    }
    for (const auto& [pair, stat] : pairs_) queue_.push({stat.count, pair});
  }

  // Merges the most frequent pairs until the vocabulary has `size` tokens or no pair is left.
  void run(std::size_t size) {
    while (vocabulary_.size() < size && !queue_.empty()) {
      const Entry top = queue_.top();
      queue_.pop();
      const std::int64_t count = pairs_[top.pair].count;
      if (count != top.count) {  // it has changed since it was queued
        if (count > 0) queue_.push({count, top.pair});
        continue;
      }
      if (count > 0) merge(top.pair);
    }
  }

  const std::vector<std::string>& vocabulary() const { return vocabulary_; }
  const std::vector<Pair>& merges() const { return merges_; }

 private:
  struct Word {
    std::vector<std::int32_t> ids;
    std::int64_t count;
  };
  struct Stat {
    std::int64_t count = 0;
    std::vector<std::size_t> words;  // where it occurs or did
  };
  struct Entry {
    std::int64_t count;
    Pair pair;
    bool operator<(const Entry& other) const {  // the queue's top: the highest count, then the smallest pair
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  void count_pairs(std::size_t index, int sign) {
    const Word& word = words_[index];
    for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) {
      Stat& stat = pairs_[{word.ids[i], word.ids[i + 1]}];
      stat.count += sign * word.count;
      if (sign > 0 && (stat.words.empty() || stat.words.back() != index)) stat.words.push_back(index);
    }
  }

  void merge(const Pair& pair) {
    const auto text_of = [&](std::int32_t id) { return vocabulary_[static_cast<std::size_t>(id)]; };
    std::string text = text_of(pair.first) + text_of(pair.second);
    if (!taken_.insert(text).second) return;  // an added token is written like this: one text cannot have two ids
    const auto merged = static_cast<std::int32_t>(vocabulary_.size());
    vocabulary_.push_back(std::move(text));
    merges_.push_back(pair);
    std::vector<std::size_t> affected = std::move(pairs_[pair].words);
    pairs_[pair].words.clear();
    std::sort(affected.begin(), affected.end());
    affected.erase(std::unique(affected.begin(), affected.end()), affected.end());
    for (const std::size_t index : affected) {
      count_pairs(index, -1);
      replace(words_[index].ids, pair, merged);
      count_pairs(index, 1);
      const auto& ids = words_[index].ids;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        if (ids[i] == merged || ids[i + 1] == merged) changed_.insert({ids[i], ids[i + 1]});
      }
    }
    for (const Pair& touched : changed_) queue_.push({pairs_[touched].count, touched});
    changed_.clear();
  }

  static void replace(std::vector<std::int32_t>& ids, const Pair& pair, std::int32_t merged) {
    std::size_t out = 0;
    for (std::size_t i = 0; i < ids.size(); ++i, ++out) {
      const bool match = i + 1 < ids.size() && ids[i] == pair.first && ids[i + 1] == pair.second;
      ids[out] = match ? merged : ids[i];
      if (match) ++i;
    }
    ids.resize(out);
  }

  std::vector<std::string> vocabulary_;
  std::unordered_set<std::string> taken_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Stat, PairHash> pairs_;
  std::priority_queue<Entry> queue_;
  std::unordered_set<Pair, PairHash> changed_;
  std::vector<Pair> merges_;
};

}  // namespace

std::string Tokenizer::train(std::span<const std::string> texts, const TrainOptions& options) {
  const std::vector<std::string> base = base_vocabulary(options);
  const TokenizerModel model = read_tokenizer_json(tokenizer_tree(options, base, {}).dump(), "Tokenizer::train");
  Trainer trainer(base, count_words(texts, model));
  trainer.run(static_cast<std::size_t>(options.vocab_size));
  return tokenizer_tree(options, trainer.vocabulary(), trainer.merges()).dump(2) + "\n";
}

}  // namespace grpo::inline GRPO_ABI
