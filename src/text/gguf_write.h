// The metadata of a new GGUF file, encoded as it is added.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grpo::inline GRPO_ABI {

class Tokenizer;

class GgufMetadata {
 public:
  void text(std::string_view key, std::string_view value);
  void integer(std::string_view key, std::uint32_t value);
  void real(std::string_view key, float value);
  void flag(std::string_view key, bool value);
  void texts(std::string_view key, const std::vector<std::string>& values);
  void integers(std::string_view key, const std::vector<std::int32_t>& values);

  std::uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

  // Pieces of the format: a little-endian number, a string behind its length.
  static void append(std::string& bytes, std::uint32_t value);
  static void append(std::string& bytes, std::uint64_t value);
  static void append(std::string& bytes, std::string_view text);

 private:
  void key(std::string_view key, std::uint32_t type);

  std::string bytes_;
  std::uint64_t count_ = 0;
};

// tokenizer.ggml.* and tokenizer.chat_template, without the ids of special tokens. Ids up to `vocab_size` that no token
// has become unused tokens. Throws Error for word rules that have no name in tokenizer.ggml.pre.
void write_gguf_tokenizer(const Tokenizer& tokenizer, std::int64_t vocab_size, GgufMetadata& metadata);

}  // namespace grpo::inline GRPO_ABI
