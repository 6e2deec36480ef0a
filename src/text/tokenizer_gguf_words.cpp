// Word rules by their name in tokenizer.ggml.pre: those of the models' own tokenizer.json.
#include <grpo/error.h>

#include "base/utf8.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_utf8.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseekCjk = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)";
constexpr std::string_view kDeepseekWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The cased letters of DeepSeek-LLM's pattern, beside A-Z and a-z.
constexpr std::uint32_t kCasedLetters[][2] = {
    {0x00B5, 0x00B5},   {0x00C0, 0x00D6},   {0x00D8, 0x00F6},   {0x00F8, 0x01BA},   {0x01BC, 0x01BF},
    {0x01C4, 0x0293},   {0x0295, 0x02AF},   {0x0370, 0x0373},   {0x0376, 0x0377},   {0x037B, 0x037D},
    {0x037F, 0x037F},   {0x0386, 0x0386},   {0x0388, 0x038A},   {0x038C, 0x038C},   {0x038E, 0x03A1},
    {0x03A3, 0x03F5},   {0x03F7, 0x0481},   {0x048A, 0x052F},   {0x0531, 0x0556},   {0x10A0, 0x10C5},
    {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},
    {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},
    {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},
    {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},
    {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},
    {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},
    {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
    {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};

Json object(Json::Object fields) { return Json(std::move(fields)); }

Json split(std::string_view regex) {
  return object(
      {{"type", "Split"}, {"pattern", object({{"Regex", regex}})}, {"behavior", "Isolated"}, {"invert", false}});
}

Json digits() { return object({{"type", "Digits"}, {"individual_digits", true}}); }

Json byte_level(bool use_regex) {
  return object({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}});
}

Json sequence(Json::List steps) { return object({{"type", "Sequence"}, {"pretokenizers", Json(std::move(steps))}}); }

Json deepseek_llm() {
  std::string letters = R"(\s?[A-Za-z)";
  for (const auto& [first, last] : kCasedLetters) {
    append_utf8(letters, first);
    if (first == last) continue;
    letters += '-';
    append_utf8(letters, last);
  }
  letters += "]+";
  // Trailing space is `\s+$` in the model's file: the same pieces, since newlines stand alone by then, in linear time.
  return sequence({split(R"([\r\n])"), split(letters),
                   split(R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)"),
                   split(R"((?<!\s)\s++$)"), split(R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)"),
                   digits(), byte_level(false)});
}

}  // namespace

GgufWordRules gguf_word_rules(std::string_view pre, const std::string& source) {
  GgufWordRules rules;
  if (pre == "smollm") {
    rules.pre_tokenizer = sequence({digits(), byte_level(true)});
  } else if (pre == "gpt-2") {
    rules.pre_tokenizer = byte_level(true);
  } else if (pre == "qwen2") {
    rules.pre_tokenizer = sequence({split(kQwen2), byte_level(false)});
    rules.normalizer = object({{"type", "NFC"}});
  } else if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    rules.pre_tokenizer = sequence({split(kLlama3), byte_level(false)});
    rules.ignore_merges = true;
    rules.add_bos = true;
  } else if (pre == "deepseek-v3") {
    rules.pre_tokenizer =
        sequence({split(R"(\p{N}{1,3})"), split(kDeepseekCjk), split(kDeepseekWords), byte_level(false)});
  } else if (pre == "deepseek-llm") {
    rules.pre_tokenizer = deepseek_llm();
  } else if (pre == "default") {  // what llama.cpp does then
    rules.pre_tokenizer = sequence({split(R"([\p{P}\$\+<=>\^~\|]+)"), split(kGpt2), split(R"(\p{N}+)"),
                                    split("[0-9][0-9][0-9]"), byte_level(false)});
  } else {
    throw Error(source + ": metadata \"tokenizer.ggml.pre\": expected smollm, qwen2, deepseek-v3, deepseek-llm, " +
                "llama-bpe, gpt-2 or default, got " + shown(pre) + " (not supported)");
  }
  return rules;
}

}  // namespace grpo::inline GRPO_ABI
