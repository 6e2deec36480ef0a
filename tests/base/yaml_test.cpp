#include <gtest/gtest.h>

#include <cmath>

#include <grpo/json.h>

#include "base/error_text.h"
#include "base/files.h"
#include "support/scratch_folder.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::string complaint(const std::string& text) {
  return error_text([&] { parse_yaml(text, "r.yaml"); });
}

TEST(Yaml, PlainScalarsHaveCoreTypes) {
  const Json list = parse_yaml(R"([null, ~, true, False, 12, -7, +3, 010, 0x1F, 0o17, 1.5, .5, 5., 1e-6, 1.0E+2,
      .inf, -.Inf, yes, on, off, 1_000, 0x, 1e, "12", '1.5', "null", a b, 1.2.3, -, +, 0b1])");
  const auto& items = list.as_list();
  EXPECT_EQ(Json(Json::List(items.begin(), items.begin() + 15)).dump(),
            "[null, null, true, false, 12, -7, 3, 10, 31, 15, 1.5, 0.5, 5.0, 1e-06, 100.0]");
  EXPECT_EQ(items[15].as_double(), INFINITY);
  EXPECT_EQ(items[16].as_double(), -INFINITY);
  EXPECT_EQ(Json(Json::List(items.begin() + 17, items.end())).dump(),
            R"(["yes", "on", "off", "1_000", "0x", "1e", "12", "1.5", "null", "a b", "1.2.3", "-", "+", "0b1"])");
  EXPECT_TRUE(std::isnan(parse_yaml(".nan").as_double()));
  EXPECT_TRUE(parse_yaml("").is_null());
  EXPECT_TRUE(parse_yaml("# nothing\n").is_null());
  EXPECT_TRUE(parse_yaml("a:\n").at("a").is_null());
  EXPECT_EQ(parse_yaml("!!str 12").as_string(), "12");
}

TEST(Yaml, NumbersOutOfRangeAreErrors) {
  EXPECT_EQ(complaint("a: 9223372036854775808"), "r.yaml:1:4: number out of range: 9223372036854775808");
  EXPECT_EQ(complaint("a: 1e999"), "r.yaml:1:4: number out of range: 1e999");
  EXPECT_EQ(complaint("0xFFFFFFFFFFFFFFFFF"), "r.yaml:1:1: number out of range: 0xFFFFFFFFFFFFFFFFF");
}

TEST(Yaml, BlocksAndFlowGiveOneTree) {
  const Json tree = parse_yaml("a:\n  - x: 1\n    y: [2, {z: 3}]\n  - |\n    text\nb: {c: 'd'}\n", "r.yaml");
  EXPECT_EQ(tree.dump(), R"({"a": [{"x": 1, "y": [2, {"z": 3}]}, "text\n"], "b": {"c": "d"}})");
  EXPECT_EQ(tree.at("a").as_list()[0].at("y").where(), "r.yaml:3:8");
}

TEST(Yaml, DuplicateKeysNameBothLines) {
  EXPECT_EQ(complaint("a: 1\nb: 2\na: 3\n"), "r.yaml:3:1: key \"a\" occurs twice, first in line 1");
  EXPECT_EQ(complaint("x: {a: 1, a: 2}"), "r.yaml:1:11: key \"a\" occurs twice, first in line 1");
}

TEST(Yaml, RefusesWhatTheTreeCannotHold) {
  EXPECT_EQ(complaint("1: a"), "r.yaml:1:1: expected a key that is text, got 1 (quote it)");
  EXPECT_EQ(complaint("[a]: b").substr(0, 43), "r.yaml:1:1: expected a key that is text, go");
  EXPECT_EQ(complaint("a: &x {b: 1}\nc:\n  <<: *x\n"), "r.yaml:3:3: merge keys (<<) are not supported");
  EXPECT_EQ(complaint("a: !!int 3"), "r.yaml:1:4: tag tag:yaml.org,2002:int is not supported");
  EXPECT_EQ(complaint("a: !mine {b: 1}"), "r.yaml:1:4: tag !mine is not supported");
  EXPECT_EQ(complaint("a: 1\n---\nb: 2\n"), "r.yaml: expected one YAML document, got several");
}

TEST(Yaml, SyntaxErrorsNameThePlace) {
  EXPECT_EQ(complaint("a: [1,\nb: 2").substr(0, 9), "r.yaml:2:");
  EXPECT_EQ(complaint("a: b: c").substr(0, 9), "r.yaml:1:");
  for (const char* open :
       {"a: \"open", "a: \"open\n", "a: 'open", "a: 'open\n\n", "a: \"open\n  more\n", "a: \"open\n# c\n"}) {
    EXPECT_EQ(complaint(open).substr(0, 7), "r.yaml:") << open;
  }
  EXPECT_EQ(complaint("a: 1\n\tb: 2").substr(0, 9), "r.yaml:2:");
  EXPECT_EQ(complaint("a: *none").substr(0, 9), "r.yaml:1:");
  EXPECT_EQ(error_text([] { parse_yaml("a: {"); }).substr(0, 5), "line ");
}

TEST(Yaml, BytesThatAreNoTextAreErrors) {
  EXPECT_EQ(complaint("a: 1\nb: \xFF"), "r.yaml:2:4: invalid UTF-8");
  EXPECT_EQ(complaint(std::string("a: \0b", 5)), "r.yaml:1:4: control character in the text");
  EXPECT_EQ(complaint("\xFE\xFF"), "r.yaml:1:1: invalid UTF-8");
  EXPECT_EQ(complaint(std::string("\0a\0:", 4)), "r.yaml:1:1: control character in the text");
}

TEST(Yaml, DepthIsBounded) {
  EXPECT_EQ(complaint(std::string(101, '[') + std::string(101, ']')), "r.yaml:1:101: nested more than 100 levels deep");
  EXPECT_NO_THROW(parse_yaml(std::string(100, '[') + std::string(100, ']')));
  EXPECT_THROW(parse_yaml(std::string(1000000, '[')), Error);
  EXPECT_THROW(parse_yaml(std::string(1000000, '{')), Error);
  std::string dashes, questions;
  for (int i = 0; i < 20000; ++i) dashes += "- ", questions += "? ";
  EXPECT_THROW(parse_yaml(dashes + "a"), Error);
  EXPECT_THROW(parse_yaml(questions + "a"), Error);
}

TEST(Yaml, AliasesCopyAndAreBounded) {
  EXPECT_EQ(parse_yaml("a: &x [1, 2]\nb: *x\n").dump(), R"({"a": [1, 2], "b": [1, 2]})");
  std::string laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 20; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int k = 0; k < 8; ++k) laughs += ", " + last;
    laughs += "]\n";
  }
  EXPECT_NE(complaint(laughs).find("aliases that expand without bound"), std::string::npos);
  std::string nested = "a0: &a0 [x]\n";
  for (int i = 1; i < 200; ++i) {
    nested += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  }
  EXPECT_NE(complaint(nested).find("nested more than 100 levels deep"), std::string::npos);
  std::string wide = "a: &a \"" + std::string(1 << 20, 'x') + "\"\nb: [";
  for (int i = 0; i < 100; ++i) wide += "*a, ";
  EXPECT_NE(complaint(wide + "*a]").find("aliases that expand without bound"), std::string::npos);
  EXPECT_EQ(complaint("a: &x [*x]"), "r.yaml:1:8: alias inside the node that it names");
}

TEST(Yaml, EveryPrefixAndEveryFlippedByteIsHandled) {
  const std::string text = "a: &x {b: [1, 'two', \"th\\\"ree\"], c: |\n    block\n  }\nd: *x # end\n? e\n: f\n";
  for (std::size_t n = 0; n <= text.size(); ++n) {
    try {
      parse_yaml(text.substr(0, n));
    } catch (const Error&) {  // an Error is as good as a tree; a crash or another exception is not
    }
    for (const char byte : std::string("\0\n\t[]{}:,&*!|>'\"%@`-?#\x80", 24)) {
      std::string changed = text;
      if (n < changed.size()) changed[n] = byte;
      try {
        parse_yaml(changed);
      } catch (const Error&) {
      }
    }
  }
}

TEST(Yaml, LoadTreeGoesByExtension) {
  const ScratchFolder folder;
  write_file_atomic(folder / "t.json", "// comment\n{\"a\": 1}");
  write_file_atomic(folder / "t.yaml", "a: 1 # comment");
  EXPECT_EQ(load_tree(folder / "t.json"), load_tree(folder / "t.yaml"));
  EXPECT_NE(error_text([&] { load_tree(folder / "none.yaml"); }).find("No such file"), std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
