#include "text/jinja_text.h"

#include <utf8proc.h>

#include "base/utf8.h"

namespace grpo::jinja {

std::size_t next_character(std::string_view text, std::size_t start) {
  const std::size_t length = utf8_length(text.substr(start, 4));
  return start + (length == 0 ? 1 : length);
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i = next_character(text, i)) ++count;
  return count;
}

std::size_t character_offset(std::string_view text, std::size_t count) {
  std::size_t offset = 0;
  for (; count > 0 && offset < text.size(); --count) offset = next_character(text, offset);
  return offset;
}

std::uint32_t character_at(std::string_view text, std::size_t start) {
  const std::size_t length = utf8_length(text.substr(start, 4));
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[start + i]));
  };
  if (length == 1) return byte(0);
  if (length == 2) return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
  if (length == 3) return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  if (length == 4) {
    return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
  return 0xFFFD;
}

bool is_space(std::uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_printable(std::uint32_t code) {
  if (code < 0x80) return code >= 0x20 && code != 0x7F;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_letter(std::uint32_t code) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_digit(std::uint32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code)) == UTF8PROC_CATEGORY_ND;
}

std::string_view strip(std::string_view text, Side side, const std::string* characters) {
  const auto strips = [&](std::size_t start, std::size_t end) {
    if (!characters) return is_space(character_at(text, start));
    return characters->find(text.substr(start, end - start)) != std::string::npos;
  };
  std::size_t begin = 0;
  std::size_t end = text.size();
  while (side != Side::Right && begin < end) {
    const std::size_t next = next_character(text, begin);
    if (!strips(begin, next)) break;
    begin = next;
  }
  while (side != Side::Left && begin < end) {
    std::size_t start = end - 1;  // back to the first byte of the last character
    while (start > begin && end - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (next_character(text, start) != end) start = end - 1;
    if (!strips(start, end)) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

namespace {

enum class Case { Upper, Lower, Title };

void append_cased(std::string& out, std::string_view text, std::size_t start, std::size_t end, Case wanted) {
  const std::uint32_t code = character_at(text, start);
  if (code == 0xFFFD) {
    out.append(text.substr(start, end - start));
  } else if (code == 0xDF && wanted != Case::Lower) {
    out.append(wanted == Case::Upper ? "SS" : "Ss");
  } else {
    const auto point = static_cast<utf8proc_int32_t>(code);
    const utf8proc_int32_t mapped = wanted == Case::Upper   ? utf8proc_toupper(point)
                                    : wanted == Case::Lower ? utf8proc_tolower(point)
                                                            : utf8proc_totitle(point);
    append_utf8(out, static_cast<std::uint32_t>(mapped));
  }
}

bool is_cased(std::uint32_t code) {
  const auto point = static_cast<utf8proc_int32_t>(code);
  return utf8proc_toupper(point) != point || utf8proc_tolower(point) != point || code == 0xDF;
}

// `of(before)` is the case of the character that follows `before`; 0 at the start.
template <class CaseOf>
std::string map_case(std::string_view text, CaseOf of) {
  std::string out;
  out.reserve(text.size());
  std::uint32_t before = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = next_character(text, i);
    append_cased(out, text, i, end, of(before));
    before = character_at(text, i);
    if (before == 0) before = 1;  // a NUL is no start
    i = end;
  }
  return out;
}

}  // namespace

std::string upper(std::string_view text) {
  return map_case(text, [](std::uint32_t) { return Case::Upper; });
}

std::string lower(std::string_view text) {
  return map_case(text, [](std::uint32_t) { return Case::Lower; });
}

std::string capitalize(std::string_view text) {
  return map_case(text, [](std::uint32_t before) { return before == 0 ? Case::Title : Case::Lower; });
}

std::string title(std::string_view text) {
  return map_case(text, [](std::uint32_t before) { return is_cased(before) ? Case::Lower : Case::Title; });
}

std::string title_words(std::string_view text) {
  return map_case(text, [](std::uint32_t before) {
    const bool starts = before == 0 || before == '-' || before == '(' || before == '{' || before == '[' ||
                        before == '<' || is_space(before);
    return starts ? Case::Upper : Case::Lower;
  });
}

}  // namespace grpo::jinja
