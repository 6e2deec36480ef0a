// Run configs in YAML: trees that parse are written and read back as they are, and so are configs that load.
#include <grpo/config.h>

#include "tests/fuzz/fuzz.h"

namespace {

using namespace grpo;

// Trees are compared as text: a number may be NaN.
void load(const Json& tree, Command command) {
  RunConfig config;
  if (!fuzz::accepts([&] { config = config_from_tree(tree, command); })) return;
  const Json whole = config_to_tree(config);
  fuzz::expect(to_yaml(config_to_tree(config_from_tree(whole, command))) == to_yaml(whole),
               "a resolved config loads as itself");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Json tree;
  if (!fuzz::accepts([&] { tree = parse_yaml(fuzz::text_of(data, size), "f.yaml"); })) return 0;
  const std::string text = to_yaml(tree);
  fuzz::expect(to_yaml(parse_yaml(text)) == text, "a tree written as YAML parses to itself");
  for (const Command command : {Command::Train, Command::Score, Command::Evaluate}) load(tree, command);
  return 0;
}
