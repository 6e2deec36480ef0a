// GGUF metadata and the tokenizer inside it.
#include <span>

#include <grpo/text.h>

#include "tests/fuzz/fuzz.h"
#include "text/gguf_metadata.h"
#include "text/tokenizer_gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  fuzz::accepts([&] {
    const GgufFile file = GgufFile::parse(std::as_bytes(std::span(data, size)), "f.gguf");
    const GgufTokenizer made = tokenizer_from_gguf(file);
    Tokenizer::from_json(made.tokenizer_json, made.tokenizer_config_json).encode("Ab 12 <s>\n");
  });
  return 0;
}
