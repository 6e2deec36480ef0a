// Byte-pair encoding of one word, and the alphabet in which byte-level vocabularies write bytes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace grpo::inline GRPO_ABI {

// Bytes as the printable characters of GPT-2's alphabet, one character (as UTF-8) a byte.
std::string to_byte_alphabet(std::string_view bytes);
// The way back; nothing when `text` (well-formed UTF-8) holds a character outside the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

// Merges adjacent symbols of a word, lowest rank first, leftmost among equals. O(n log n) in the word's bytes.
// Safe to share between threads: short words are remembered in a cache with its own locks.
class Bpe {
 public:
  struct Merge {
    std::int32_t left, right, result;
  };
  struct Options {
    std::array<std::int32_t, 256> byte_ids{};                   // token of each byte; < 0: it has none
    std::vector<Merge> merges;                                  // in order of rank; of equal pairs the last counts
    std::unordered_map<std::string, std::int32_t> whole_words;  // words that are tokens whatever the merges say
    std::int32_t unk_id = -1;  // stands for a byte without a token; < 0: such a byte is dropped
    bool fuse_unk = false;     // a run of such bytes gives one
  };
  explicit Bpe(Options options);
  Bpe(Bpe&&) noexcept;
  Bpe& operator=(Bpe&&) noexcept;
  ~Bpe();

  // Appends the tokens of `word`, which is not empty.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  class PairTable;
  class Cache;
  void merge(std::string_view word, std::vector<std::int32_t>& ids) const;

  std::array<std::int32_t, 256> byte_ids_;
  std::unordered_map<std::string, std::int32_t> whole_words_;
  std::int32_t unk_id_;
  bool fuse_unk_;
  std::unique_ptr<const PairTable> pairs_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace grpo::inline GRPO_ABI
