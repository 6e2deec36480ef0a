// JSON text: what parses is written and read back as the same tree.
#include <grpo/json.h>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::accepts([&] { parse_json(text, {.source = "f.json", .allow_comments = true}); });
  Json tree;
  if (!fuzz::accepts([&] { tree = parse_json(text); })) return 0;
  for (const int indent : {-1, 2}) {
    fuzz::expect(parse_json(tree.dump(indent)) == tree, "a dumped tree parses to itself");
  }
  return 0;
}
