// Arbitrary text through a small tokenizer without a normalizer: it comes back whole, streamed or not, with U+FFFD for
// what is no UTF-8.
#include <string>

#include <grpo/text.h>

#include "base/files.h"
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer_utf8.h"

namespace {

using namespace grpo;

// The one of the golden tests, with a special and an ordinary added token.
Tokenizer make_tokenizer() {
  Json tree = parse_json(read_file(GRPO_SOURCE_DIR "/tests/golden/tokenizer/base.json"));
  auto id = static_cast<std::int64_t>(tree.at("model").at("vocab").size());
  for (const char* content : {"<|end|>", "<think>"}) {
    tree["added_tokens"].push_back(Json::Object{{"id", id++},
                                                {"content", content},
                                                {"single_word", false},
                                                {"lstrip", false},
                                                {"rstrip", false},
                                                {"normalized", false},
                                                {"special", content[1] == '|'}});
  }
  return Tokenizer::from_json(tree.dump());
}

void check_stream(const Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  Tokenizer::Stream stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  fuzz::expect(text + stream.finish() == tokenizer.decode(ids), "ids stream to what they decode to");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer tokenizer = make_tokenizer();
  const std::string_view text = fuzz::text_of(data, size);
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.parse_special = parse_special});
    fuzz::expect(tokenizer.decode(ids) == replace_invalid_utf8(text), "decode(encode(x)) is x");
    check_stream(tokenizer, ids);
  }
  check_stream(tokenizer, std::vector<std::int32_t>(data, data + size));  // bytes as ids: in any order
  return 0;
}
