// tokenizer.json, and behind a NUL tokenizer_config.json. Tokenizers that load encode and decode some text.
#include <grpo/text.h>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  const fuzz::Halves input = fuzz::halves_of(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(input.first, input.second);
    for (const bool special : {false, true}) {
      const auto ids = tokenizer.encode("abba  ab <a> It's 12345 caf\xC3\xA9 e\xCC\x81\n\n\xF0\x9F\x98\x80",
                                        {.add_special = special, .parse_special = special});
      for (const std::int32_t id : ids) {
        fuzz::expect(id >= 0 && id < tokenizer.vocab_size(), "an id is in the vocabulary");
      }
      tokenizer.decode(ids, {.skip_special = special});
    }
  });
  return 0;
}
