#include "text/pretokenize_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "base/utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

struct StandIn {
  std::uint32_t first, last, older;
};
struct Range {
  std::uint32_t first, last;
};

// clang-format off
// Both tables: tests/golden/tokenizer/make_unicode.py.
// Characters of Unicode 15 and 16 (and one whose category changed), and what PCRE2 sees in their place.
constexpr StandIn kStandIns[] = {
    {0x0897, 0x0897, 0x0898}, {0x0CF3, 0x0CF3, 0x0D02}, {0x0ECE, 0x0ECE, 0x0ECD}, {0x1B4E, 0x1B4F, 0x1B5A},
    {0x1B7F, 0x1B7F, 0x1B7E}, {0x1C89, 0x1C89, 0x1C90}, {0x1C8A, 0x1C8A, 0x1C88}, {0x2427, 0x2429, 0x2426},
    {0x2FFC, 0x2FFF, 0x2FFB}, {0x31E4, 0x31E5, 0x31E3}, {0x31EF, 0x31EF, 0x31E3}, {0xA7CB, 0xA7CC, 0xA7C9},
    {0xA7CD, 0xA7CD, 0xA7CA}, {0xA7DA, 0xA7DA, 0xA7D8}, {0xA7DB, 0xA7DB, 0xA7D9}, {0xA7DC, 0xA7DC, 0xA7D8},
    {0x105C0, 0x105F3, 0x10600}, {0x10D40, 0x10D49, 0x10D39}, {0x10D4A, 0x10D4D, 0x10D23},
    {0x10D4E, 0x10D4E, 0x107BA}, {0x10D4F, 0x10D4F, 0x10D23}, {0x10D50, 0x10D65, 0x10CB2},
    {0x10D69, 0x10D6D, 0x10D27}, {0x10D6E, 0x10D6E, 0x10EAD}, {0x10D6F, 0x10D6F, 0x107BA},
    {0x10D70, 0x10D85, 0x10CF2}, {0x10D8E, 0x10D8F, 0x1D6C1}, {0x10EC2, 0x10EC4, 0x10EB1},
    {0x10EFC, 0x10EFF, 0x10F46}, {0x1123F, 0x11240, 0x1122B}, {0x11241, 0x11241, 0x1123E},
    {0x11380, 0x11389, 0x11361}, {0x1138B, 0x1138B, 0x11361}, {0x1138E, 0x1138E, 0x11361},
    {0x11390, 0x113B0, 0x11361}, {0x113B1, 0x113B5, 0x11400}, {0x113B7, 0x113B7, 0x11400},
    {0x113B8, 0x113BA, 0x11363}, {0x113BB, 0x113C0, 0x11374}, {0x113C2, 0x113C2, 0x11363},
    {0x113C5, 0x113C5, 0x11363}, {0x113C7, 0x113CA, 0x11363}, {0x113CC, 0x113CC, 0x11363},
    {0x113CD, 0x113CD, 0x11435}, {0x113CE, 0x113CE, 0x11374}, {0x113CF, 0x113CF, 0x11435},
    {0x113D0, 0x113D0, 0x11374}, {0x113D1, 0x113D1, 0x11400}, {0x113D2, 0x113D2, 0x11374},
    {0x113D3, 0x113D3, 0x11400}, {0x113D4, 0x113D5, 0x1144B}, {0x113D7, 0x113D8, 0x1144B},
    {0x113E1, 0x113E2, 0x11438}, {0x116D0, 0x116E3, 0x116C9}, {0x1171E, 0x1171E, 0x11720},
    {0x11B00, 0x11B09, 0x11AA2}, {0x11BC0, 0x11BE0, 0x11C00}, {0x11BE1, 0x11BE1, 0x11C41},
    {0x11BF0, 0x11BF9, 0x11C50}, {0x11F00, 0x11F01, 0x11EF4}, {0x11F02, 0x11F02, 0x11EF2},
    {0x11F03, 0x11F03, 0x11EF6}, {0x11F04, 0x11F10, 0x11EF2}, {0x11F12, 0x11F33, 0x11EF2},
    {0x11F34, 0x11F35, 0x11EF6}, {0x11F36, 0x11F3A, 0x11EF4}, {0x11F3E, 0x11F3F, 0x11EF6},
    {0x11F40, 0x11F40, 0x11EF4}, {0x11F41, 0x11F41, 0x11EF6}, {0x11F42, 0x11F42, 0x11EF4},
    {0x11F43, 0x11F4F, 0x11EF8}, {0x11F50, 0x11F59, 0x11DA9}, {0x11F5A, 0x11F5A, 0x11EF4},
    {0x1342F, 0x1342F, 0x1342E}, {0x13439, 0x1343F, 0x13438}, {0x13440, 0x13440, 0x11EF4},
    {0x13441, 0x13446, 0x1342E}, {0x13447, 0x13455, 0x11EF4}, {0x13460, 0x13C17, 0x1342E},
    {0x13C18, 0x143FA, 0x14400}, {0x16100, 0x1611D, 0x16800}, {0x1611E, 0x16129, 0x16AF0},
    {0x1612A, 0x1612C, 0x16F51}, {0x1612D, 0x1612F, 0x16AF0}, {0x16130, 0x16139, 0x16A60},
    {0x16D40, 0x16D42, 0x16B43}, {0x16D43, 0x16D47, 0x16B8F}, {0x16D48, 0x16D6A, 0x16F00},
    {0x16D6B, 0x16D6B, 0x16B43}, {0x16D6C, 0x16D6C, 0x16F93}, {0x16D6D, 0x16D6F, 0x16E97},
    {0x16D70, 0x16D79, 0x16B59}, {0x18CFF, 0x18CFF, 0x18D00}, {0x1B132, 0x1B132, 0x1B150},
    {0x1B155, 0x1B155, 0x1B164}, {0x1CC00, 0x1CCEF, 0x1CF50}, {0x1CCF0, 0x1CCF9, 0x1D7CE},
    {0x1CD00, 0x1CEB3, 0x1CF50}, {0x1D2C0, 0x1D2D3, 0x1D2E0}, {0x1DF25, 0x1DF2A, 0x1DF1E},
    {0x1E030, 0x1E06D, 0x1E137}, {0x1E08F, 0x1E08F, 0x1E02A}, {0x1E4D0, 0x1E4EA, 0x1E2EB},
    {0x1E4EB, 0x1E4EB, 0x1E13D}, {0x1E4EC, 0x1E4EF, 0x1E2EF}, {0x1E4F0, 0x1E4F9, 0x1E2F9},
    {0x1E5D0, 0x1E5ED, 0x1E7E0}, {0x1E5EE, 0x1E5EF, 0x1E8D0}, {0x1E5F0, 0x1E5F0, 0x1E7E0},
    {0x1E5F1, 0x1E5FA, 0x1E2F9}, {0x1E5FF, 0x1E5FF, 0x1E95E}, {0x1F6DC, 0x1F6DC, 0x1F6DD},
    {0x1F774, 0x1F776, 0x1F773}, {0x1F77B, 0x1F77F, 0x1F780}, {0x1F7D9, 0x1F7D9, 0x1F7D8},
    {0x1F8B2, 0x1F8BB, 0x1F8B1}, {0x1F8C0, 0x1F8C1, 0x1F8B1}, {0x1FA75, 0x1FA76, 0x1FA74},
    {0x1FA77, 0x1FA77, 0x1FA78}, {0x1FA87, 0x1FA89, 0x1FA86}, {0x1FA8F, 0x1FA8F, 0x1FA90},
    {0x1FAAD, 0x1FAAE, 0x1FAAC}, {0x1FAAF, 0x1FAAF, 0x1FAB0}, {0x1FABB, 0x1FABD, 0x1FABA},
    {0x1FABE, 0x1FABF, 0x1FAC0}, {0x1FAC6, 0x1FAC6, 0x1FAC5}, {0x1FACE, 0x1FACF, 0x1FAD0},
    {0x1FADA, 0x1FADC, 0x1FAD9}, {0x1FADF, 0x1FADF, 0x1FAE0}, {0x1FAE8, 0x1FAE9, 0x1FAE7},
    {0x1FAF7, 0x1FAF8, 0x1FAF6}, {0x1FBCB, 0x1FBEF, 0x1FBCA}, {0x2B739, 0x2B739, 0x2B738},
    {0x2EBF0, 0x2EE5D, 0x2EBE0}, {0x31350, 0x323AF, 0x3134A},
};

// Characters of Unicode 10 to 14 that normalisation would move or compose, and U+11A7, which utf8proc swallows.
constexpr Range kInert[] = {
    {0x07FD, 0x07FD}, {0x0898, 0x089F}, {0x08CA, 0x08D3}, {0x09FE, 0x09FE}, {0x0C3C, 0x0C3C}, {0x0D3B, 0x0D3C},
    {0x0EBA, 0x0EBA}, {0x11A7, 0x11A7}, {0x1715, 0x1715}, {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFA}, {0xA82C, 0xA82C}, {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
};
// clang-format on

// The row of a sorted table that holds `code`, or null.
template <class Row, std::size_t N>
const Row* find_row(const Row (&table)[N], std::uint32_t code) {
  const Row* row = std::partition_point(table, table + N, [&](const Row& r) { return r.last < code; });
  return row != table + N && row->first <= code ? row : nullptr;
}

bool is_inert(std::uint32_t code) { return find_row(kInert, code) || find_row(kStandIns, code); }

std::uint32_t older(std::uint32_t code) {
  const StandIn* row = find_row(kStandIns, code);
  return row ? row->older : code;
}

utf8proc_category_t category(std::uint32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(older(code)));
}

}  // namespace

std::uint32_t front_code(std::string_view text, std::size_t& length) {
  const auto lead = static_cast<unsigned char>(text[0]);
  length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  std::uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  return code;
}

std::optional<std::string> with_older_characters(std::string_view text) {
  std::optional<std::string> out;
  std::size_t length = 1;
  for (std::size_t i = 0; i < text.size(); i += length) {
    if (static_cast<unsigned char>(text[i]) < 0xE0) {  // the table starts in the three-byte characters
      length = 1;
      continue;
    }
    const std::uint32_t code = front_code(text.substr(i), length);
    const StandIn* row = find_row(kStandIns, code);
    if (!row) continue;
    if (!out) out.emplace(text);
    std::string bytes;
    append_utf8(bytes, row->older);
    out->replace(i, length, bytes);
  }
  return out;
}

bool is_white_space(std::uint32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_numeric(std::uint32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  if ((code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6)) return true;  // Unicode 17
  const utf8proc_category_t kind = category(code);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_word(std::uint32_t code) {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // joiners, and the symbols that Unicode calls alphabetic
      return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
             (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
             (code >= 0x1F170 && code <= 0x1F189);
  }
}

namespace {

int combining_class(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Whether what stands before `code` could change with it: marks, and the vowels and finals of Hangul.
bool joins_previous(std::uint32_t code) {
  const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
  return property->combining_class != 0 || property->category == UTF8PROC_CATEGORY_MN ||
         property->category == UTF8PROC_CATEGORY_MC || property->category == UTF8PROC_CATEGORY_ME ||
         (code >= 0x1160 && code <= 0x11FF);
}

// Whether a character alone could change; below U+0300 none does, and syllables of Hangul compose again.
bool decomposes(std::uint32_t code) {
  if (code >= 0xAC00 && code <= 0xD7A3) return false;
  utf8proc_int32_t parts[16];  // no canonical decomposition is longer than 4
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts, 16, UTF8PROC_DECOMPOSE, nullptr);
  return count != 1 || static_cast<std::uint32_t>(parts[0]) != code;
}

// Appends the NFC of `run`. Marks are put in order by a stable sort: utf8proc's own ordering is quadratic.
void append_normalized(std::string_view run, std::string& out) {
  std::vector<utf8proc_int32_t> codes;
  std::size_t length = 0;
  for (std::size_t i = 0; i < run.size(); i += length) {
    utf8proc_int32_t parts[16];  // no canonical decomposition is longer than 4
    const auto code = static_cast<utf8proc_int32_t>(front_code(run.substr(i), length));
    const auto count = utf8proc_decompose_char(code, parts, 16, UTF8PROC_DECOMPOSE, nullptr);
    codes.insert(codes.end(), parts, parts + count);
  }
  for (auto from = codes.begin(); from != codes.end();) {
    if (combining_class(*from) == 0) {
      ++from;
      continue;
    }
    const auto to = std::find_if(from, codes.end(), [](auto c) { return combining_class(c) == 0; });
    std::stable_sort(from, to, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    from = to;
  }
  const auto size = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                             static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < size; ++i) append_utf8(out, static_cast<std::uint32_t>(codes[i]));
}

}  // namespace

std::string nfc(std::string_view text, std::vector<Rewrite>* rewrites) {
  // A run is one character and all that could move or combine with it.
  std::string out;
  out.reserve(text.size());
  std::size_t copied = 0;  // the text before it is in `out`
  std::size_t length = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::uint32_t first = front_code(text.substr(i), length);
    const std::size_t alone = i + length;
    std::size_t end = alone;
    const bool inert = first >= 0x300 && is_inert(first);
    while (!inert && end < text.size() && static_cast<unsigned char>(text[end]) >= 0xCC) {  // U+0300 and up
      const std::uint32_t code = front_code(text.substr(end), length);
      if (is_inert(code) || !joins_previous(code)) break;
      end += length;
    }
    if (!inert && (end != alone || (first >= 0x300 && decomposes(first)))) {
      out.append(text.substr(copied, i - copied));
      const std::size_t begin = out.size();
      append_normalized(text.substr(i, end - i), out);
      if (rewrites) rewrites->push_back({i, end, begin, out.size()});
      copied = end;
    }
    i = end;
  }
  return out.append(text.substr(copied));
}

}  // namespace grpo::inline GRPO_ABI
