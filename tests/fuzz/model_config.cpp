// config.json: a configuration that is accepted is written and read back as itself.
#include <grpo/model.h>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  ModelConfig config;
  const bool accepted = fuzz::accepts(
      [&] { config = parse_model_config(parse_json(fuzz::text_of(data, size), {.source = "config.json"})); });
  if (!accepted) return 0;
  fuzz::accepts([&] { num_parameters(config); });
  const Json written = to_config_json(config);
  fuzz::expect(to_config_json(parse_model_config(written)) == written, "a written config reads as itself");
  return 0;
}
