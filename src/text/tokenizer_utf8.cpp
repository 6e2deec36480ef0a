#include "text/tokenizer_utf8.h"

#include <algorithm>

#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Bytes at the front that start a character and could go on: 1 to 3; 0 for a byte that starts none.
std::size_t unfinished_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t whole = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte alone has narrower limits; a probe with the lowest legal rest asks utf8_length about them.
  std::size_t length = 1;
  for (; length < whole - 1 && length < text.size(); ++length) {
    std::string probe(text.substr(0, length + 1));
    probe.resize(whole, '\x80');
    if (utf8_length(probe) == 0) break;
  }
  return length;
}

}  // namespace

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t good = find_invalid_utf8(bytes);
    out.append(bytes.substr(0, good));
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    out += "\xEF\xBF\xBD";
    bytes.remove_prefix(std::max<std::size_t>(1, unfinished_length(bytes)));
  }
  return out;
}

std::size_t incomplete_utf8_tail(std::string_view bytes) {
  for (std::size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;
    return utf8_length(tail) == 0 && unfinished_length(tail) == length ? length : 0;
  }
  return 0;
}

std::string shown(std::string_view text) {
  std::string out = "\"";
  out += replace_invalid_utf8(text.substr(0, 80));
  out += text.size() > 80 ? "...\"" : "\"";
  return out;
}

}  // namespace grpo::inline GRPO_ABI
