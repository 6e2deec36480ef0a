#include "text/tokenizer_model.h"

#include "text/pretokenize_unicode.h"

namespace grpo::inline GRPO_ABI {

bool Vocabulary::add(std::string text, std::int32_t id) {
  GRPO_ASSERT(id >= 0 && id <= kMaxId);
  const auto index = static_cast<std::size_t>(id);
  if (index < tokens_.size() && tokens_[index].exists) return false;
  const auto [it, is_new] = ids_.emplace(std::move(text), id);
  if (!is_new) return false;
  if (index >= tokens_.size()) tokens_.resize(index + 1);
  tokens_[index].exists = true;
  // As the library's decoder has it: letters of the byte alphabet are bytes, a token with any other letter is text.
  tokens_[index].bytes = from_byte_alphabet(it->first).value_or(it->first);
  return true;
}

bool Vocabulary::contains(std::int32_t id) const {
  return id >= 0 && id < size() && tokens_[static_cast<std::size_t>(id)].exists;
}

std::int32_t Vocabulary::find(std::string_view text) const {
  const auto it = ids_.find(std::string(text));
  return it == ids_.end() ? -1 : it->second;
}

std::vector<std::int32_t> TokenizerModel::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<std::int32_t> ids;
  const auto encode_word = [&](std::string_view word) { bpe.encode(word, ids); };
  std::vector<AddedTokens::Piece> outer;
  std::vector<AddedTokens::Piece> inner;
  raw_tokens.split(text, options.parse_special, outer);
  for (const AddedTokens::Piece& piece : outer) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      continue;
    }
    const std::string composed = normalize_nfc ? nfc(piece.text) : std::string();
    inner.clear();
    normalized_tokens.split(normalize_nfc ? std::string_view(composed) : piece.text, options.parse_special, inner);
    for (const AddedTokens::Piece& part : inner) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        pretokenizer.words(part.text, encode_word);
      }
    }
  }
  if (!options.add_special || around.size() == 1) return ids;
  std::vector<std::int32_t> whole;
  for (const std::int32_t id : around) {
    if (id == kText) {
      whole.insert(whole.end(), ids.begin(), ids.end());
    } else {
      whole.push_back(id);
    }
  }
  return whole;
}

}  // namespace grpo::inline GRPO_ABI
