// Frames between grpo and a reward worker: answers to judge, then a plug-in's declaration. What can be read is written
// as a frame that reads the same.
#include <string>

#include "reward/wire.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace grpo;

// False where the frame is none: also the Internal errors by which the format says so.
template <class Read>
bool reads(Read&& read) {
  try {
    read();
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::string rewritten_input(std::string_view frame) {
  wire::Reader reader(frame);
  wire::Writer writer;
  wire::write(writer, RewardInput(wire::read_input(reader)));
  return writer.frame();
}

std::string rewritten_declaration(std::string_view frame) {
  wire::Reader reader(frame);
  wire::Writer writer;
  wire::write(writer, wire::read_declaration(reader));
  return writer.frame();
}

void check(std::string_view frame, std::string (*rewritten)(std::string_view)) {
  std::string once;
  if (!reads([&] { once = rewritten(frame); })) return;
  fuzz::expect(rewritten(once) == once, "a frame that was written reads the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view frame = fuzz::text_of(data, size);
  check(frame, rewritten_input);
  check(frame, rewritten_declaration);
  return 0;
}
