#include "base/frame.h"

#include <bit>
#include <cstring>

namespace grpo::inline GRPO_ABI {

void FrameWriter::number(std::uint64_t value) { frame_.append(reinterpret_cast<const char*>(&value), sizeof value); }
void FrameWriter::real(double value) { number(std::bit_cast<std::uint64_t>(value)); }
void FrameWriter::text(std::string_view value) {
  number(value.size());
  frame_ += value;
}

void FrameReader::fail(const char* what) {
  throw Error(std::string("a message between processes ") + what, ErrorKind::Internal);
}

std::uint64_t FrameReader::number() {
  std::uint64_t value = 0;
  if (rest_.size() < sizeof value) fail("that is too short");
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_.remove_prefix(sizeof value);
  return value;
}

double FrameReader::real() { return std::bit_cast<double>(number()); }

std::string_view FrameReader::text() {
  const std::uint64_t size = number();
  if (rest_.size() < size) fail("that is too short");
  const std::string_view value = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return value;
}

}  // namespace grpo::inline GRPO_ABI
