// What a tokenizer.json describes, ready to encode: vocabulary, added tokens, word rules, merges, template.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <grpo/text.h>

#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer_added.h"

namespace grpo::inline GRPO_ABI {

// Token texts (as the file writes them) and ids.
class Vocabulary {
 public:
  static constexpr std::int32_t kMaxId = (1 << 21) - 1;  // a hostile id must not make a table of gigabytes

  // A token that decodes to `written`, in letters of the byte alphabet or, with any other letter in it, as it is.
  // False when the text or the id is taken. The id is 0 to kMaxId.
  bool add(std::string text, std::int32_t id, const std::string& written);
  void mark_special(std::int32_t id) { tokens_.at(static_cast<std::size_t>(id)).special = true; }

  std::int32_t size() const { return static_cast<std::int32_t>(tokens_.size()); }  // highest id + 1
  std::int32_t count() const { return static_cast<std::int32_t>(ids_.size()); }
  bool contains(std::int32_t id) const;
  std::int32_t find(std::string_view text) const;  // < 0: none
  const std::string& bytes(std::int32_t id) const { return tokens_.at(static_cast<std::size_t>(id)).bytes; }
  bool is_special(std::int32_t id) const { return tokens_.at(static_cast<std::size_t>(id)).special; }
  const std::unordered_map<std::string, std::int32_t>& ids() const { return ids_; }

 private:
  struct Token {
    std::string bytes;  // what it decodes to
    bool exists = false;
    bool special = false;
  };
  std::vector<Token> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
};

struct TokenizerModel {
  static constexpr std::int32_t kText = -1;  // in `around`: where the text's ids go

  Vocabulary vocabulary;
  bool normalize_nfc = false;
  AddedTokens raw_tokens;         // found before normalisation
  AddedTokens normalized_tokens;  // ... and after
  Pretokenizer pretokenizer;
  Bpe bpe{Bpe::Options{}};
  std::vector<std::int32_t> around = {kText};  // ids of the post-processor

  // `text` is well-formed UTF-8. `ranges`, if any, becomes Tokenizer::Encoding::ranges.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options,
                                   std::vector<TextRange>* ranges = nullptr) const;

 private:
  // `text` starts at `begin` of the whole and holds no raw token.
  void encode_between(std::string_view text, std::size_t begin, bool parse_special, std::vector<std::int32_t>& ids,
                      std::vector<TextRange>* ranges) const;
  // Appends the range of each token of `word`, whose piece starts at `begin`.
  void add_word_ranges(const Pretokenizer::Word& word, std::size_t begin, std::span<const std::int32_t> ids,
                       std::vector<TextRange>& ranges) const;
};

}  // namespace grpo::inline GRPO_ABI
