#include "text/tokenizer_model.h"

#include <algorithm>

#include "text/pretokenize_unicode.h"

namespace grpo::inline GRPO_ABI {

bool Vocabulary::add(std::string text, std::int32_t id, const std::string& written) {
  GRPO_ASSERT(id >= 0 && id <= kMaxId);
  const auto index = static_cast<std::size_t>(id);
  if (index < tokens_.size() && tokens_[index].exists) return false;
  if (!ids_.emplace(std::move(text), id).second) return false;
  if (index >= tokens_.size()) tokens_.resize(index + 1);
  tokens_[index].exists = true;
  tokens_[index].bytes = from_byte_alphabet(written).value_or(written);
  return true;
}

bool Vocabulary::contains(std::int32_t id) const {
  return id >= 0 && id < size() && tokens_[static_cast<std::size_t>(id)].exists;
}

std::int32_t Vocabulary::find(std::string_view text) const {
  const auto it = ids_.find(std::string(text));
  return it == ids_.end() ? -1 : it->second;
}

namespace {

// Where bytes of a normalised text stand in the text that it was made of.
class Origin {
 public:
  explicit Origin(std::vector<Rewrite> rewrites) : rewrites_(std::move(rewrites)) {}

  // What was rewritten into one piece belongs to each of its parts as a whole.
  TextRange of(const TextRange& range) const {
    const Rewrite* first = last_before(range.begin + 1);
    const Rewrite* last = last_before(range.end);
    return {first && range.begin < first->end ? first->from : moved(first, range.begin),
            last && range.end <= last->end ? last->to : moved(last, range.end)};
  }

 private:
  const Rewrite* last_before(std::size_t at) const {
    const auto next = std::partition_point(rewrites_.begin(), rewrites_.end(),
                                           [&](const Rewrite& rewrite) { return rewrite.begin < at; });
    return next == rewrites_.begin() ? nullptr : &*std::prev(next);
  }
  static std::size_t moved(const Rewrite* before, std::size_t at) {
    return before ? before->to + at - before->end : at;
  }

  std::vector<Rewrite> rewrites_;
};

}  // namespace

void TokenizerModel::add_word_ranges(const Pretokenizer::Word& word, std::size_t begin,
                                     std::span<const std::int32_t> ids, std::vector<TextRange>& ranges) const {
  const auto in_text = [&](std::size_t at) { return begin + word.begin + std::max(at, word.prefix) - word.prefix; };
  std::size_t total = 0;
  for (const std::int32_t id : ids) total += vocabulary.bytes(id).size();
  std::size_t at = 0;
  for (const std::int32_t id : ids) {
    const std::size_t next = at + vocabulary.bytes(id).size();
    // With bytes that have no token it cannot be told which token covers what: each has the whole word.
    const bool is_exact = total == word.bytes.size();
    ranges.push_back({in_text(is_exact ? at : 0), in_text(is_exact ? next : word.bytes.size())});
    at = next;
  }
}

void TokenizerModel::encode_between(std::string_view text, std::size_t begin, bool parse_special,
                                    std::vector<std::int32_t>& ids, std::vector<TextRange>* ranges) const {
  std::vector<Rewrite> rewrites;
  const std::string composed = normalize_nfc ? nfc(text, ranges ? &rewrites : nullptr) : std::string();
  const std::string_view normal = normalize_nfc ? std::string_view(composed) : text;
  std::vector<AddedTokens::Piece> pieces;
  normalized_tokens.split(normal, parse_special, pieces);
  const std::size_t first = ids.size();
  for (const AddedTokens::Piece& piece : pieces) {
    const auto piece_begin = static_cast<std::size_t>(piece.text.data() - normal.data());
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      if (ranges) ranges->push_back({piece_begin, piece_begin + piece.text.size()});
      continue;
    }
    pretokenizer.words(piece.text, [&](const Pretokenizer::Word& word) {
      const std::size_t before = ids.size();
      bpe.encode(word.bytes, ids);
      if (ranges) add_word_ranges(word, piece_begin, std::span(ids).subspan(before), *ranges);
    });
  }
  if (!ranges) return;
  const Origin origin(std::move(rewrites));
  for (std::size_t i = first; i < ids.size(); ++i) {
    const TextRange in_text = origin.of((*ranges)[i]);
    (*ranges)[i] = {begin + in_text.begin, begin + in_text.end};
  }
}

std::vector<std::int32_t> TokenizerModel::encode(std::string_view text, const EncodeOptions& options,
                                                 std::vector<TextRange>* ranges) const {
  std::vector<std::int32_t> ids;
  std::vector<AddedTokens::Piece> pieces;
  raw_tokens.split(text, options.parse_special, pieces);
  for (const AddedTokens::Piece& piece : pieces) {
    const auto begin = static_cast<std::size_t>(piece.text.data() - text.data());
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      if (ranges) ranges->push_back({begin, begin + piece.text.size()});
    } else {
      encode_between(piece.text, begin, options.parse_special, ids, ranges);
    }
  }
  if (!options.add_special || around.size() == 1) return ids;
  const auto text_at = std::find(around.begin(), around.end(), kText);
  const auto num_before = static_cast<std::size_t>(text_at - around.begin());
  const std::size_t num_behind = around.size() - num_before - 1;
  ids.insert(ids.begin(), around.begin(), text_at);
  ids.insert(ids.end(), text_at + 1, around.end());
  if (ranges) {
    ranges->insert(ranges->begin(), num_before, {0, 0});
    ranges->insert(ranges->end(), num_behind, {text.size(), text.size()});
  }
  return ids;
}

}  // namespace grpo::inline GRPO_ABI
