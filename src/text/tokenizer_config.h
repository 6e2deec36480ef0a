// tokenizer_config.json: the named special tokens and the chat template.
#pragma once

#include <string>
#include <string_view>

#include <grpo/json.h>

namespace grpo::inline GRPO_ABI {

struct TokenizerConfig {
  Json tokens = Json::Object{};  // "bos_token" and the like, those that are known, as strings
  std::string chat_template;     // the default one; empty: none
};

TokenizerConfig read_tokenizer_config(std::string_view text, const std::string& source);

}  // namespace grpo::inline GRPO_ABI
