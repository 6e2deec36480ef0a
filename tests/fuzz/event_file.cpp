// Event files read back: the whole file, and one event behind checks that fit.
#include "support/event_file.h"

#include <string>

#include "tests/fuzz/fuzz.h"

namespace {

using namespace grpo;

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}

std::string record(std::string_view data) {
  const std::string length = little_endian(data.size(), 8);
  return length + little_endian(testing::masked_crc(length), 4) + std::string(data) +
         little_endian(testing::masked_crc(data), 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  const bool is_whole = fuzz::accepts([&] { testing::read_events(bytes); });
  std::size_t most = 0;
  const bool is_readable = fuzz::accepts([&] { most = testing::read_events(bytes, true).size(); });
  fuzz::expect(is_readable || !is_whole, "a file without a torn end reads the same");
  fuzz::expect(most <= size / 16, "an event takes at least its frame");

  const bool is_event = fuzz::accepts([&] { testing::read_event(bytes); });
  const std::string framed = record(bytes);
  const bool reads =
      fuzz::accepts([&] { fuzz::expect(testing::read_events(framed).size() == 1, "one record, one event"); });
  fuzz::expect(reads == is_event, "a frame changes nothing");
  const std::string torn = framed + framed.substr(0, framed.size() - 1);
  if (is_event) fuzz::expect(testing::read_events(torn, true).size() == 1, "a torn record is left out");
  return 0;
}
