#include "reward/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kMaxFullFoldBytes = 4096;
constexpr std::int32_t kReplacement = 0xFFFD;

bool is_minus(std::int32_t code) {
  return (code >= 0x2010 && code <= 0x2013) || code == 0x2212 || code == 0xFE63 || code == 0xFF0D;
}

// Appends the compatibility form of full-width characters and vulgar fractions; false for every other character.
bool append_compatible(std::string& out, std::int32_t code) {
  const auto type = utf8proc_get_property(code)->decomp_type;
  if (type != UTF8PROC_DECOMP_TYPE_WIDE && type != UTF8PROC_DECOMP_TYPE_FRACTION) return false;
  constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  utf8proc_int32_t parts[8];
  int boundary = 0;
  const auto count = utf8proc_decompose_char(code, parts, 8, kOptions, &boundary);
  if (count <= 0 || count > 8) return false;
  if (type == UTF8PROC_DECOMP_TYPE_FRACTION) out += ' ';  // 2½ is 2 1/2, not 21/2
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    if (parts[i] == 0x2044) {
      out += '/';
    } else {
      append_utf8(out, static_cast<std::uint32_t>(parts[i]));
    }
  }
  return true;
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t position) {
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 0x80) return {byte, 1};
  const std::size_t length = utf8_length(text.substr(position));
  if (length == 0) return {kReplacement, 1};
  utf8proc_int32_t code = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + position,
                   static_cast<utf8proc_ssize_t>(length), &code);
  return {code, length};
}

bool is_white_space(std::int32_t code) {
  if (code <= 0x20) return code == 0x20 || (code >= 0x09 && code <= 0x0D);
  if (code == 0x85) return true;
  const auto category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

bool is_format_control(std::int32_t code) { return code >= 0x80 && utf8proc_category(code) == UTF8PROC_CATEGORY_CF; }

bool is_letter(std::int32_t code) {
  if (code < 0x80) return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
  const auto category = utf8proc_category(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_mark(std::int32_t code) {
  const auto category = utf8proc_category(code);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool is_number(std::int32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  const auto category = utf8proc_category(code);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text, i).length) ++count;
  return count;
}

std::size_t count_visible(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    if (!is_white_space(point.value) && !is_format_control(point.value)) ++count;
    i += point.length;
  }
  return count;
}

std::string_view trim(std::string_view text) {
  auto is_blank = [](std::int32_t code) { return is_white_space(code) || is_format_control(code); };
  std::size_t begin = 0;
  while (begin < text.size()) {
    const CodePoint point = code_point_at(text, begin);
    if (!is_blank(point.value)) break;
    begin += point.length;
  }
  std::size_t end = text.size();
  while (end > begin) {
    std::size_t start = end - 1;  // back to the character's first byte, at most four bytes
    while (start > begin && end - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const CodePoint point = code_point_at(text, start);
    if (start + point.length != end || !is_blank(point.value)) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

std::string fold_characters(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    const std::int32_t code = point.value;
    if (code == 0x2009 || code == 0x202F) {
      out += "\\,";
    } else if (is_white_space(code)) {
      out += code == '\n' ? '\n' : ' ';
    } else if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (is_minus(code)) {
      out += '-';
    } else if (code == 0xD7) {
      out += "\\times ";
    } else if (code == 0xB7 || code == 0x22C5) {
      out += "\\cdot ";
    } else if (code == 0x2044 || code == 0x2215) {
      out += '/';
    } else if (!is_format_control(code) && !append_compatible(out, code)) {
      out.append(text.substr(i, point.length));  // malformed bytes stay as they are
    }
    i += point.length;
  }
  return out;
}

std::string fold_case(std::string_view text) {
  const bool is_ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!is_ascii && text.size() <= kMaxFullFoldBytes) {
    utf8proc_uint8_t* folded = nullptr;
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &folded, options);
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(folded, &std::free);
    if (length >= 0) return std::string(reinterpret_cast<const char*>(folded), static_cast<std::size_t>(length));
  }
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace grpo::inline GRPO_ABI
