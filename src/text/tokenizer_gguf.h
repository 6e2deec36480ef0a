// The tokenizer inside a GGUF file, as the files that Hugging Face tools read.
#pragma once

#include <string>
#include <string_view>

#include <grpo/json.h>

#include "text/gguf_metadata.h"

namespace grpo::inline GRPO_ABI {

struct GgufTokenizer {
  std::string tokenizer_json;
  std::string tokenizer_config_json;
};

// From tokenizer.ggml.* and tokenizer.chat_template. Only byte-level BPE ("gpt2").
GgufTokenizer tokenizer_from_gguf(const GgufFile& file);

// What a value of tokenizer.ggml.pre stands for; an unknown one throws Error, `source` first.
struct GgufWordRules {
  Json pre_tokenizer;
  Json normalizer;
  bool ignore_merges = false;
  bool add_bos = false;  // where tokenizer.ggml.add_bos_token is absent
};
GgufWordRules gguf_word_rules(std::string_view pre, const std::string& source);

}  // namespace grpo::inline GRPO_ABI
