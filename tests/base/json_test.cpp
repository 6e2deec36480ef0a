#include <grpo/json.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error_text.h"

namespace grpo::inline GRPO_ABI {
namespace {

Json parse(const std::string& text) { return parse_json(text); }
std::string complaint(const std::string& text, JsonParseOptions options = {.source = "f.json"}) {
  return error_text([&] { parse_json(text, options); });
}

TEST(Json, ParsesEveryKindOfValue) {
  const Json tree = parse(R"({"a": [1, -2.5, true, false, null, "x"], "b": {}, "c": 1e3})");
  EXPECT_EQ(tree.at("a").as_list()[0].as_int(), 1);
  EXPECT_EQ(tree.at("a").as_list()[1].as_double(), -2.5);
  EXPECT_TRUE(tree.at("a").as_list()[2].as_bool());
  EXPECT_TRUE(tree.at("a").as_list()[4].is_null());
  EXPECT_EQ(tree.at("b").size(), 0u);
  EXPECT_EQ(tree.at("c").kind(), Json::Kind::Double);
  EXPECT_EQ(tree.at("c").as_int(), 1000);
  EXPECT_EQ(tree.dump(), R"({"a": [1, -2.5, true, false, null, "x"], "b": {}, "c": 1000.0})");
}

TEST(Json, ReadsEscapesAndSurrogatePairs) {
  EXPECT_EQ(parse(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00")").as_string(),
            "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  EXPECT_EQ(parse("\"\\u0000\"").as_string(), std::string(1, '\0'));
}

TEST(Json, IntegersBeyond64BitsBecomeDoubles) {
  EXPECT_EQ(parse("9223372036854775807").as_int(), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(parse("-9223372036854775808").as_int(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(parse("9223372036854775808").kind(), Json::Kind::Double);
  EXPECT_THROW(parse("9223372036854775808").as_int(), Error);
}

TEST(Json, RefusesWhatRfc8259DoesNotKnow) {
  for (const char* text : {"",      " ",     "{",      "[",        "[1,]",    "{\"a\":1,}", "{a:1}",       "{'a':1}",
                           "[1 2]", "01",    "1.",     ".5",       "+1",      "1e",         "1e+",         "-",
                           "nul",   "truex", "NaN",    "Infinity", "\"a",     "\"\\x\"",    "\"\\u12g4\"", "\"\\u12\"",
                           "[1]]",  "{} {}", "\"\t\"", "\"\n\"",   "// c\n1", "/* c */ 1",  "{\"a\" 1}",   "{1:2}",
                           "\"\\",  "\"\\u", "[",      "]",        "\x01",    "1e999",      "-1e999"}) {
    EXPECT_THROW(parse(text), Error) << text;
  }
}

TEST(Json, RefusesInvalidUtf8) {
  for (const std::string bytes : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                                  "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xFF"}) {
    EXPECT_THROW(parse("\"" + bytes + "\""), Error) << bytes.size();
  }
  for (const char* text : {"\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud800x\""}) {
    EXPECT_THROW(parse(text), Error) << text;
  }
}

TEST(Json, ErrorsNameFileLineAndColumn) {
  EXPECT_EQ(complaint("{\n  \"a\": 1,\n  \"b\": x\n}"), "f.json:3:8: expected a value, got 'x'");
  EXPECT_EQ(complaint("[1,\n2"), "f.json:2:2: expected ',' or ']' in a list, got the end of the text");
  EXPECT_EQ(complaint("[1", {.first_line = 7}),
            "JSON line 7, column 3: expected ',' or ']' in a list, got the end of the text");
  EXPECT_EQ(complaint("\x01"), "f.json:1:1: expected a value, got byte 0x01");
  EXPECT_EQ(complaint("[01]"), "f.json:1:2: a number with a leading zero");
}

TEST(Json, DuplicateKeysNameBothLines) {
  EXPECT_EQ(complaint("{\"a\": 1,\n \"b\": 2,\n \"a\": 3}"), "f.json:3:7: key \"a\" occurs twice, first in line 1");
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\": 0,\n";
  EXPECT_EQ(complaint(many + "\"k37\": 1}"), "f.json:101:8: key \"k37\" occurs twice, first in line 38");
  EXPECT_NO_THROW(parse(many + "\"other\": 1}"));
}

TEST(Json, DepthIsBounded) {
  EXPECT_EQ(complaint(std::string(202, '[')), "f.json:1:202: nested more than 200 levels deep");
  EXPECT_NO_THROW(parse(std::string(200, '[') + std::string(200, ']')));
  EXPECT_THROW(parse(std::string(1000000, '[')), Error);
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_THROW(parse(objects), Error);
}

TEST(Json, CommentsOnlyWhenAsked) {
  const std::string text = "// first\n{ /* in\nside */ \"a\": 1 // end\n}/**/";
  EXPECT_THROW(parse(text), Error);
  const Json tree = parse_json(text, {.source = "f.json", .allow_comments = true});
  EXPECT_EQ(tree.at("a").where(), "f.json:3:14");
  EXPECT_THROW(parse_json("1 /* open", {.allow_comments = true}), Error);
  EXPECT_THROW(parse_json("1 /", {.allow_comments = true}), Error);
  EXPECT_THROW(parse_json("/*/1", {.allow_comments = true}), Error);
}

TEST(Json, SkipsOneByteOrderMark) {
  EXPECT_EQ(parse("\xEF\xBB\xBF[1]").size(), 1u);
  EXPECT_THROW(parse("\xEF\xBB\xBF\xEF\xBB\xBF[1]"), Error);
}

TEST(Json, EveryPrefixOfADocumentIsAnError) {
  const std::string text = R"({"key": [1.5e3, "a\u00e9", {"n": null, "t": true}]})";
  for (std::size_t n = 0; n < text.size(); ++n) EXPECT_THROW(parse(text.substr(0, n)), Error) << n;
  EXPECT_NO_THROW(parse(text));
}

TEST(Json, DoublesAreWrittenAsPythonWritesThem) {
  const std::pair<double, const char*> cases[] = {{1.0, "1.0"},
                                                  {0.1, "0.1"},
                                                  {1e-6, "1e-06"},
                                                  {0.0001, "0.0001"},
                                                  {1e-5, "1e-05"},
                                                  {1e15, "1000000000000000.0"},
                                                  {1e16, "1e+16"},
                                                  {100000.0, "100000.0"},
                                                  {-0.0, "-0.0"},
                                                  {5e-324, "5e-324"},
                                                  {1.0 / 3, "0.3333333333333333"},
                                                  {1.5e300, "1.5e+300"},
                                                  {123456.789, "123456.789"}};
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(Json(value).dump(), text);
    EXPECT_EQ(parse(text).as_double(), value);
  }
  EXPECT_EQ(Json(std::nan("")).dump(), "null");
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).dump(), "null");
}

TEST(Json, TextIsWrittenWithoutAsciiEscapes) {
  EXPECT_EQ(Json("\xC3\xA9\n\"\\\x01\x7F").dump(), "\"\xC3\xA9\\n\\\"\\\\\\u0001\x7F\"");
  EXPECT_EQ(Json("a\xFFz").dump(), "\"a\xEF\xBF\xBDz\"");
}

TEST(Json, IndentedOutput) {
  EXPECT_EQ(parse(R"({"a":[1,{}],"b":[]})").dump(2), "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

TEST(Json, AccessErrorsNamePlaceAndType) {
  const Json tree = parse_json("{\"a\": \"x\"}", {.source = "f.json"});
  EXPECT_EQ(error_text([&] { tree.at("a").as_int(); }), "f.json:1:7: expected an integer, got \"x\"");
  EXPECT_EQ(error_text([&] { tree.at("b"); }), "f.json:1:1: expected key \"b\", got none");
  EXPECT_EQ(error_text([&] { Json(1.5).as_int(); }), "Json: expected an integer, got 1.5");
  EXPECT_EQ(Json(3.0).as_int(), 3);
  EXPECT_EQ(Json(3).as_double(), 3.0);
}

TEST(Json, BuildsAndEditsTrees) {
  Json tree;
  tree["a"] = 1;
  tree["b"].push_back("x");
  tree["b"].push_back(2.5);
  EXPECT_EQ(tree.dump(), R"({"a": 1, "b": ["x", 2.5]})");
  EXPECT_TRUE(tree.erase("a"));
  EXPECT_FALSE(tree.erase("a"));
  EXPECT_EQ(tree, parse(R"({"b": ["x", 2.5]})"));
  EXPECT_FALSE(Json(1) == Json(1.0));
  EXPECT_THROW(Json(1)["a"], Error);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
