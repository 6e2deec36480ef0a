// The reader of tokenizer.json, and what its parts have in common.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_model.h"

namespace grpo::inline GRPO_ABI {

// Reads a tokenizer.json. What the Rust library would do otherwise than this class is refused by name; `source` and
// the field start each message.
TokenizerModel read_tokenizer_json(std::string_view text, const std::string& source);

// Their parts of a tokenizer.json, of `type` and what goes with it.
Pretokenizer read_pretokenizer(const Json& node);
bool read_normalizer(const Json& node);  // whether it is NFC
std::vector<std::int32_t> read_post_processor(const Json& node, const Vocabulary& vocabulary);

// Throws Error "<file:line:column>: <path>: <message>".
[[noreturn]] void refuse(const Json& node, std::string_view path, std::string_view message);
// Each key of `object` must be among `known`, unless its value is null.
void check_fields(const Json& object, std::string_view path, std::initializer_list<std::string_view> known);
// The field as a bool; `fallback` when it is absent or null.
bool read_flag(const Json& object, std::string_view key, bool fallback);

}  // namespace grpo::inline GRPO_ABI
