// Arbitrary text through small tokenizers. Without a normalizer it comes back whole, streamed or not, with U+FFFD for
// what is no UTF-8; every one knows which bytes its tokens stand for.
#include <algorithm>
#include <string>
#include <vector>

#include <grpo/text.h>

#include "base/files.h"
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer_utf8.h"

namespace {

using namespace grpo;

Json golden(const std::string& name) {
  return parse_json(read_file(GRPO_SOURCE_DIR "/tests/golden/tokenizer/" + name));
}

// The one of the golden tests, with a special and an ordinary added token.
Json base_tree() {
  Json tree = golden("base.json");
  auto id = static_cast<std::int64_t>(tree.at("model").at("vocab").size());
  for (const char* content : {"<|end|>", "<think>"}) {
    tree["added_tokens"].push_back(Json::Object{{"id", id++},
                                                {"content", content},
                                                {"single_word", false},
                                                {"lstrip", false},
                                                {"rstrip", false},
                                                {"normalized", false},
                                                {"special", content[1] == '|'}});
  }
  return tree;
}

std::vector<Tokenizer> make_tokenizers() {
  std::vector<Tokenizer> tokenizers;
  Json tree = base_tree();
  tokenizers.push_back(Tokenizer::from_json(tree.dump()));
  tree["normalizer"] = Json::Object{{"type", "NFC"}};
  tokenizers.push_back(Tokenizer::from_json(tree.dump()));
  const Json shapes = golden("shapes.json");
  for (const Json& shape : shapes.at("shapes").as_list()) {
    tokenizers.push_back(Tokenizer::from_json(shape.at("tree").dump()));
  }
  return tokenizers;
}

void check_ranges(const Tokenizer& tokenizer, const std::string& text) {
  const Tokenizer::Encoding encoding = tokenizer.encode_with_ranges(text);
  fuzz::expect(encoding.ids == tokenizer.encode(text), "ranges change no id");
  fuzz::expect(encoding.ids.size() == encoding.ranges.size(), "every id has its range");
  std::size_t begin = 0;
  std::size_t end = 0;  // of what is covered
  for (const TextRange& range : encoding.ranges) {
    fuzz::expect(begin <= range.begin && range.begin <= end && range.begin <= range.end, "ranges leave no gap");
    begin = range.begin;
    end = std::max(end, range.end);
  }
  fuzz::expect(end == text.size(), "ranges reach to the end");
}

void check_stream(const Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  Tokenizer::Stream stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  fuzz::expect(text + stream.finish() == tokenizer.decode(ids), "ids stream to what they decode to");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Tokenizer> tokenizers = make_tokenizers();
  const Tokenizer& tokenizer = tokenizers[0];
  const std::string_view text = fuzz::text_of(data, size);
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.parse_special = parse_special});
    fuzz::expect(tokenizer.decode(ids) == replace_invalid_utf8(text), "decode(encode(x)) is x");
    check_stream(tokenizer, ids);
  }
  for (const Tokenizer& one : tokenizers) check_ranges(one, replace_invalid_utf8(text));
  check_stream(tokenizer, std::vector<std::int32_t>(data, data + size));  // bytes as ids: in any order
  return 0;
}
