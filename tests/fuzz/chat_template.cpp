// Chat templates, and behind a NUL the messages: parsing and rendering end, within their limits.
#include <grpo/text.h>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  const fuzz::Halves input = fuzz::halves_of(fuzz::text_of(data, size));
  Json messages =
      Json::List{Json::Object{{"role", "system"}, {"content", "Be \"brief\" <&>."}},
                 Json::Object{{"role", "user"}, {"content", " caf\xC3\xA9\n"}},
                 Json::Object{{"role", "assistant"}, {"content", nullptr}, {"n", Json::List{1, -2.5, true}}}};
  if (!input.second.empty() && !fuzz::accepts([&] { messages = parse_json(input.second); })) return 0;
  fuzz::accepts([&] {
    const ChatTemplate chat(input.first, Json::Object{{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    chat.render(messages, true, Json::Object{{"tools", Json::List{}}, {"x", Json::Object{{"k", "v"}}}});
  });
  return 0;
}
