// Bad tokenizer.json: each an Error that names the file and the field, never a crash or a hang.
#include <gtest/gtest.h>

#include <time.h>

#include <algorithm>
#include <functional>
#include <random>

#include "tests/text/tokenizer_fixture.h"

namespace grpo::test {
namespace {

Json small_tree() {
  return parse_json(R"({"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

Json step(const std::string& regex) {
  return parse_json(R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": )" +
                    Json(regex).dump() + R"(}, "behavior": "Isolated", "invert": false},
                     {"type": "ByteLevel", "use_regex": false}]})");
}

struct Case {
  const char* name;
  std::function<void(Json&)> change;
  const char* expected;  // part of the message
};

TEST(TokenizerHostile, EachMessageNamesTheField) {
  ASSERT_EQ(error_of([] { from_tree(small_tree()); }), "");
  const Case cases[] = {
      {"other model", [](Json& t) { t["model"]["type"] = "Unigram"; }, "model.type: expected BPE, got \"Unigram\""},
      {"byte fallback", [](Json& t) { t["model"]["byte_fallback"] = true; }, "model.byte_fallback"},
      {"dropout", [](Json& t) { t["model"]["dropout"] = 0.1; }, "model.dropout"},
      {"affix", [](Json& t) { t["model"]["end_of_word_suffix"] = "</w>"; }, "model.end_of_word_suffix"},
      {"unknown field", [](Json& t) { t["model"]["magic"] = 1; }, "unknown field \"magic\""},
      {"unknown part", [](Json& t) { t["extra"] = 1; }, "unknown field \"extra\""},
      {"version", [](Json& t) { t["version"] = "2.0"; }, "version"},
      {"no model", [](Json& t) { t.erase("model"); }, "missing field \"model\""},
      {"no vocab", [](Json& t) { t["model"].erase("vocab"); }, "missing field \"vocab\""},
      {"vocab is a list", [](Json& t) { t["model"]["vocab"] = Json::List{}; }, "t.json"},
      {"id twice", [](Json& t) { t["model"]["vocab"]["b"] = 0; }, "model.vocab: id 0 is given twice"},
      {"negative id", [](Json& t) { t["model"]["vocab"]["b"] = -1; }, "model.vocab: expected an id"},
      {"huge id", [](Json& t) { t["model"]["vocab"]["b"] = 2147483648; }, "got 2147483648"},
      {"id beyond the table", [](Json& t) { t["model"]["vocab"]["b"] = 1 << 21; }, "model.vocab: expected an id"},
      {"id is text", [](Json& t) { t["model"]["vocab"]["b"] = "1"; }, "t.json"},
      {"merge of strangers", [](Json& t) { t["model"]["merges"].push_back("a q"); }, "token \"q\" is not in"},
      {"merge without result", [](Json& t) { t["model"]["merges"].push_back("b a"); }, "token \"ba\" is not in"},
      {"merge of one", [](Json& t) { t["model"]["merges"].push_back("ab"); }, "model.merges"},
      {"merge of three", [](Json& t) { t["model"]["merges"].push_back("a b c"); }, "model.merges"},
      {"merge list of three",
       [](Json& t) {
         t["model"]["merges"].push_back(Json::List{"a", "b", "c"});
       },
       "pair"},
      {"merge is a number", [](Json& t) { t["model"]["merges"].push_back(3); }, "t.json"},
      {"unk is no token", [](Json& t) { t["model"]["unk_token"] = "<unk>"; }, "model.unk_token"},
      {"normalizer", [](Json& t) { t["normalizer"] = parse_json(R"({"type": "Lowercase"})"); }, "\"Lowercase\" is not"},
      {"no pre_tokenizer", [](Json& t) { t["pre_tokenizer"] = nullptr; }, "pre_tokenizer"},
      {"pre_tokenizer", [](Json& t) { t["pre_tokenizer"] = parse_json(R"({"type": "Whitespace"})"); }, "Whitespace"},
      {"byte level not last",
       [](Json& t) {
         t["pre_tokenizer"] =
             parse_json(R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]})");
       },
       "expected ByteLevel last"},
      {"empty sequence",
       [](Json& t) { t["pre_tokenizer"] = parse_json(R"({"type": "Sequence", "pretokenizers": []})"); },
       "pre_tokenizer"},
      {"behavior",
       [](Json& t) {
         t["pre_tokenizer"] = step("a");
         t["pre_tokenizer"]["pretokenizers"].as_list()[0]["behavior"] = "Sideways";
       },
       "unknown behavior \"Sideways\""},
      {"decoder", [](Json& t) { t["decoder"] = parse_json(R"({"type": "Metaspace"})"); }, "decoder.type"},
      {"no decoder", [](Json& t) { t["decoder"] = nullptr; }, "decoder: expected ByteLevel"},
      {"post", [](Json& t) { t["post_processor"] = parse_json(R"({"type": "BertProcessing"})"); }, "BertProcessing"},
      {"template token",
       [](Json& t) {
         t["post_processor"] = parse_json(R"({"type": "TemplateProcessing", "special_tokens": {},
             "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]})");
       },
       "post_processor"},
      {"template id",
       [](Json& t) {
         t["post_processor"] = parse_json(R"({"type": "TemplateProcessing", "special_tokens": {"x": {"ids": [9]}},
             "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}]})");
       },
       "id 9 is not in the vocabulary"},
      {"template without text",
       [](Json& t) {
         t["post_processor"] = parse_json(R"({"type": "TemplateProcessing", "special_tokens": {}, "single": []})");
       },
       "expected sequence A once"},
      {"added id", [](Json& t) { t["added_tokens"].push_back(added_token("<a>", 9)); }, "expected id 3"},
      {"added id of a model token", [](Json& t) { t["added_tokens"].push_back(added_token("ab", 3)); },
       "expected id 2"},
      {"added without content", [](Json& t) { t["added_tokens"].push_back(added_token("", 3)); }, "without content"},
      {"added twice",
       [](Json& t) {
         t["added_tokens"] = Json::List{added_token("<a>", 3), added_token("<a>", 4)};
       },
       "given twice"},
      {"added twice in normal form",
       [](Json& t) {
         t["normalizer"] = parse_json(R"({"type": "NFC"})");
         t["added_tokens"] = Json::List{added_token("<\u00C9>", 3), added_token("<E\u0301>", 4)};
         for (Json& token : t["added_tokens"].as_list()) token["normalized"] = true;
       },
       "given twice"},
      {"added id taken",
       [](Json& t) {
         t["model"]["vocab"]["b"] = 3;  // a gap: the library would give 3 again
         t["added_tokens"].push_back(added_token("<a>", 3));
       },
       "id 3 is taken"},
      {"added is text", [](Json& t) { t["added_tokens"].push_back("<a>"); }, "added_tokens"},
  };
  for (const Case& c : cases) {
    Json tree = small_tree();
    c.change(tree);
    const std::string message = error_of([&] { from_tree(tree); });
    EXPECT_NE(message.find(c.expected), std::string::npos) << c.name << ": " << message;
    EXPECT_EQ(message.rfind("t.json:", 0), 0u) << c.name << ": " << message;
  }
}

TEST(TokenizerHostile, RegularExpressions) {
  const std::pair<const char*, const char*> cases[] = {
      {"(", "missing closing parenthesis"},
      {"a**", "regular expression"},
      {"[a", "a class without ]"},
      {"[[:alpha:]]", "[ inside a class"},
      {"[a&&b]", "&& inside a class"},
      {"\\w+", "escape \\w"},
      {"\\bx", "escape \\b"},
      {"(a)\\1", "escape \\1"},
      {"(?<n>a)", "group (?<n"},
      {"(?m:.)", "group (?m:"},
      {"a(?i)b", "(?i) other than"},
      {"\\p{Latin}", "property \"Latin\""},
      {"\\pL", "property without {}"},
      {"a{2}+", "a quantifier behind {n,m}"},
      {"\\x{110000}", "regular expression"},
      {"\\", "escape"},
      {"a{99999}", "regular expression"},
      {"[\\s-x]", "behind a set"},
      {"(?<=a+)b", "regular expression"},
      {"[]a]", "] as the first"},
  };
  for (const auto& [regex, expected] : cases) {
    Json tree = small_tree();
    tree["pre_tokenizer"] = step(regex);
    const std::string message = error_of([&] { from_tree(tree); });
    EXPECT_NE(message.find(expected), std::string::npos) << regex << ": " << message;
    EXPECT_NE(message.find("pre_tokenizer.pattern"), std::string::npos) << regex << ": " << message;
  }
}

TEST(TokenizerHostile, DeepRegularExpressionIsAnError) {
  Json tree = small_tree();
  tree["pre_tokenizer"] = step(std::string(20'000, '(') + "a" + std::string(20'000, ')'));
  EXPECT_NE(error_of([&] { from_tree(tree); }), "");
  tree["pre_tokenizer"] = step(std::string(100'000, 'a'));
  EXPECT_NE(error_of([&] { from_tree(tree); }).find("at most 65536 bytes"), std::string::npos);
}

TEST(TokenizerHostile, ExponentialMatchIsAnError) {
  Json tree = small_tree();
  tree["pre_tokenizer"] = step("(a+)+$");
  const Tokenizer tokenizer = from_tree(tree);
  EXPECT_EQ(tokenizer.encode("aaa").size(), 3u);
  const std::string message = error_of([&] { tokenizer.encode(std::string(5000, 'a') + "b"); });
  EXPECT_NE(message.find("match limit"), std::string::npos) << message;
}

// Processor time of encoding `size` bytes of repeated `unit`: the least of some runs.
double seconds_for(const Tokenizer& tokenizer, const std::string& unit, std::size_t size, int runs) {
  std::string text;
  while (text.size() < size) text += unit;
  text += "x";
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  double least = 1e9;
  for (int run = 0; run < runs; ++run) {
    const double start = now();
    tokenizer.encode(text);
    least = std::min(least, now() - start);
  }
  return least;
}

TEST(TokenizerHostile, RunsTakeLinearTimeUnderEveryPattern) {
  const std::string units[] = {"a",
                               "A",
                               "aA",
                               " ",
                               "\n",
                               "\t \n",
                               "1",
                               "\u0301",
                               "a\u0301\u0323",
                               "\u4F60",
                               "\u3000",
                               "\U0001F44D",
                               "\U0001F468\u200D",
                               "'s",
                               "!",
                               " /",
                               "<|im_",
                               "<think> "};
  std::vector<Json> trees;
  const Json variants = golden("variants.json");
  for (const Json& variant : variants.at("variants").as_list()) trees.push_back(variant_tree(variant));
  const Json shapes = golden("shapes.json");
  for (const Json& shape : shapes.at("shapes").as_list()) trees.push_back(shape.at("tree"));
  for (const Json& tree : trees) {
    const Tokenizer tokenizer = from_tree(tree);
    for (const std::string& unit : units) {
      // 16 times the text: 16 times the time if it is linear, 256 times if it is quadratic.
      const double small = std::max(seconds_for(tokenizer, unit, 1 << 12, 5), 1e-4);
      double large = seconds_for(tokenizer, unit, 1 << 16, 1);
      if (large >= 64 * small) large = seconds_for(tokenizer, unit, 1 << 16, 5);  // another process in the way
      EXPECT_LT(large, 64 * small) << Json(unit).dump() << " under " << tree.at("pre_tokenizer").dump();
    }
  }
}

TEST(TokenizerHostile, StrippingIsLinear) {
  Json tree = small_tree();
  Json space = added_token(" ", 3);
  space["lstrip"] = space["rstrip"] = true;
  tree["added_tokens"].push_back(space);
  EXPECT_EQ(from_tree(tree).encode(std::string(1'000'000, ' ') + "a").size(), 2u);
  tree["added_tokens"].as_list()[0]["lstrip"] = false;
  EXPECT_EQ(from_tree(tree).encode(std::string(1'000'000, ' ')).size(), 1'000'000u);
}

TEST(TokenizerHostile, TruncatedOrChangedFileIsAnErrorOrATokenizer) {
  const std::string text = small_tree().dump();
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(error_of([&] { Tokenizer::from_json(text.substr(0, size), {}, "t.json"); }), "") << size;
  }
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = text;
    for (int i = 0; i < 1 + round % 3; ++i) changed[random() % changed.size()] = static_cast<char>(random() % 256);
    error_of([&] { Tokenizer::from_json(changed, {}, "t.json").encode("abba <a> ab"); });  // any Error will do
  }
}

TEST(TokenizerHostile, DeepNestingIsAnError) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += R"({"type": "Sequence", "pretokenizers": [)";
  EXPECT_NE(error_of([&] { Tokenizer::from_json(R"({"pre_tokenizer": )" + text); }), "");
}

}  // namespace
}  // namespace grpo::test
