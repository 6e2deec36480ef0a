// Hostile templates and data: one clear Error, no crash, no hang, no unbounded memory.
#include <string>

#include <grpo/text.h>
#include <gtest/gtest.h>

namespace grpo::inline GRPO_ABI {
namespace {

const Json kMessages = parse_json(R"([{"role": "user", "content": "q"}])");

std::string error_of(const std::string& source, const Json& variables = {}) {
  try {
    ChatTemplate(source).render(kMessages, true, variables);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(JinjaLimits, LoopsThatDoNotEnd) {
  EXPECT_NE(error_of("{% for i in range(10**9) %}x{% endfor %}").find("more than 100000 numbers"), std::string::npos);
  EXPECT_NE(error_of("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}").find("steps"),
            std::string::npos);
  EXPECT_NE(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("recurses too deep"), std::string::npos);
  EXPECT_NE(error_of("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}")
                .find("steps"),
            std::string::npos);
}

TEST(JinjaLimits, OutputAndValuesThatGrow) {
  const std::string text = "more than 16777216 bytes";
  EXPECT_NE(error_of("{{ 'ab' * 10**9 }}").find(text), std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}")
                .find(text),
            std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s | replace('x', 'xx') "
                     "%}{% endfor %}")
                .find("more than"),
            std::string::npos);
  EXPECT_NE(error_of("{% set s = 'x' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}").find(text),
            std::string::npos);
  EXPECT_NE(error_of("{{ ([1] * 10**9) | length }}").find("steps"), std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}")
                .find("steps"),
            std::string::npos);
  EXPECT_NE(error_of("{{ 'x'.zfill(10**12) }}").find(text), std::string::npos);
  EXPECT_NE(error_of("{{ [1] | tojson(indent=10**9) }}").find("indent"), std::string::npos);
}

TEST(JinjaLimits, IntegersBeyond64Bits) {
  EXPECT_NE(error_of("{{ 9223372036854775807 + 1 }}").find("64 bits"), std::string::npos);
  EXPECT_NE(error_of("{{ 10 ** 99 }}").find("64 bits"), std::string::npos);
  EXPECT_NE(error_of("{{ (-9223372036854775807 - 1) // -1 }}").find("64 bits"), std::string::npos);
  EXPECT_NE(error_of("{{ -(-9223372036854775807 - 1) }}").find("64 bits"), std::string::npos);
  EXPECT_NE(error_of("{{ 99999999999999999999 }}").find("out of range"), std::string::npos);
  EXPECT_NE(error_of("{{ 1e300 | int }}").find("64 bits"), std::string::npos);
  EXPECT_EQ(error_of("{{ (-9223372036854775807 - 1) % -1 }}{{ 1 ** (10 ** 18) }}"), "");
}

TEST(JinjaLimits, NestingInTheTemplate) {
  for (const char* open : {"(", "[", "{1: ", "-", "not ", "[1][", "(1 if ", "x("}) {
    EXPECT_NE(error_of("{{ " + repeated(open, 50'000)), "") << open;
  }
  EXPECT_NE(error_of(repeated("{% if true %}", 50'000)).find("nested more than"), std::string::npos);
  EXPECT_NE(error_of("{{ 1" + repeated(" if 1 else 1", 50'000) + " }}").find("nested more than"), std::string::npos);
  EXPECT_NE(error_of("{{ 1" + repeated(" + 1", 50'000) + " }}").find("recurses too deep"), std::string::npos);
  EXPECT_NE(error_of("{{ x" + repeated(" | upper", 50'000) + " }}").find("recurses too deep"), std::string::npos);
  EXPECT_NE(error_of("{{ x" + repeated(".a", 50'000) + " }}"), "");
  EXPECT_EQ(error_of("{{ 1" + repeated(" ~ 1", 50'000) + " }}"), "");
}

TEST(JinjaLimits, ValuesNestedInValues) {
  const std::string loop = "{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = ";
  EXPECT_NE(error_of(loop + "[ns.x] %}{% endfor %}").find("levels deep"), std::string::npos);
  EXPECT_NE(error_of(loop + "{'k': ns.x} %}{% endfor %}").find("levels deep"), std::string::npos);
  EXPECT_NE(error_of(loop + "[ns.x].index %}{% endfor %}").find("levels deep"), std::string::npos);
  EXPECT_EQ(error_of(loop + "namespace(y=ns.x) %}{% endfor %}"), "");
  EXPECT_EQ(error_of(loop + "loop %}{% endfor %}{{ ns.x.index }}"), "");
  EXPECT_NE(error_of("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}").find("holds itself"),
            std::string::npos);
  Json deep = 1;
  for (int i = 0; i < 300; ++i) deep = Json(Json::List{std::move(deep)});
  EXPECT_NE(error_of("{{ x }}", Json(Json::Object{{"x", deep}})).find("levels deep"), std::string::npos);
}

// Work on long texts counts by their length, or few steps would take hours and gigabytes.
TEST(JinjaLimits, LongTextsCostSteps) {
  const std::string loop = "{% set a = 'a' * 9999999 %}{% set b = a ~ '' %}{% for i in range(99999) %}";
  for (const char* use : {"a == b", "a < b", "a is sameas b", "b in a", "{a: 1}[b]", "a | length", "a | int",
                          "a.startswith(b)", "'x' | indent(a)"}) {
    EXPECT_NE(error_of(loop + "{% set x = " + use + " %}{% endfor %}").find("steps"), std::string::npos) << use;
  }
  EXPECT_NE(error_of("{% set x = (['A' * 9999999] * 9999) | sort %}").find("steps"), std::string::npos);
  const std::string pair = "{% set a = 'a' * 999999 %}{% set b = 'a' * 99999 ~ 'b' %}{% set x = ";
  for (const char* use : {"b in a", "a.find(b)", "a.rfind(b)", "a.count(b)", "a.split(b)", "a.partition(b)",
                          "a.replace(b, '')", "a.strip('b' * 99999 ~ 'a')", "a | trim('b' * 99999 ~ 'a')"}) {
    EXPECT_NE(error_of(pair + use + " %}").find("steps"), std::string::npos) << use;
  }
}

// A chain of loops must neither be destroyed recursively nor leak.
TEST(JinjaLimits, LoopsThatRememberLoops) {
  EXPECT_EQ(error_of("{% for i in [1] %}{{ loop.changed(loop) }}{% endfor %}"), "");
  EXPECT_EQ(error_of("{% set ns = namespace() %}{% for i in [1] %}{% set ns.l = loop %}{% endfor %}"
                     "{{ ns.l.changed([ns.l]) }}"),
            "");
  EXPECT_NE(error_of("{% for i in [1] %}{{ loop.changed(loop) }}{{ 1 // 0 }}{% endfor %}"), "");
  EXPECT_EQ(error_of("{% set ns = namespace(l=1) %}{% for i in range(99999) %}{% for j in [1] %}{% set ns.k = loop %}"
                     "{% endfor %}{% if ns.k.changed(ns.l) %}{% set ns.l = ns.k %}{% endif %}{% endfor %}"
                     "{% set ns.k = 1 %}{% set ns.l = 1 %}"),
            "");
}

TEST(JinjaLimits, MacrosOutliveNoScope) {
  EXPECT_NE(error_of("{% set ns = namespace() %}{% for i in [1] %}{% macro f() %}{{ i }}{% endmacro %}{% set ns.f = f "
                     "%}{% endfor %}{{ ns.f() }}")
                .find("called after the block"),
            std::string::npos);
}

TEST(JinjaLimits, BrokenTemplates) {
  for (const char* source : {"{{",
                             "{%",
                             "{#",
                             "{{ 'a",
                             "{{ \"a\\",
                             "{{ 'a\\x4",
                             "{{ '\\ud800' }}",
                             "{% raw %}",
                             "{% raw %}{% endraw",
                             "{{ a b }}",
                             "{{ a. }}",
                             "{{ a[ }}",
                             "{{ a | }}",
                             "{{ a is }}",
                             "{{ }}",
                             "{% %}",
                             "{% for %}",
                             "{% for a b %}",
                             "{% set %}",
                             "{% set 1 = 2 %}",
                             "{% set a.b.c = 1 %}",
                             "{% macro %}",
                             "{% macro f(1) %}{% endmacro %}",
                             "{% call 1 %}{% endcall %}",
                             "{% include 'x' %}",
                             "{% extends 'x' %}",
                             "{% nothing %}",
                             "{% else %}",
                             "{% if 1 %}{% endfor %}",
                             "{% for a in b recursive %}{% endfor %}",
                             "{{ f(a=1, 2) }}",
                             "{{ f(**a, *b) }}",
                             "{{ $ }}",
                             "{{ (] }}",
                             "{% if 1 %}{% else %}{% else %}{% endif %}",
                             "{{ \xff }}",
                             "\xff",
                             "{% macro f(a=1, b) %}"}) {
    EXPECT_THROW(ChatTemplate{source}, Error) << source;
  }
}

TEST(JinjaLimits, BytesThatAreNoUtf8InTheData) {
  const Json messages = Json::List{Json::Object{{"role", "user"}, {"content", "a\xff\xe2\x82z"}}};
  const ChatTemplate chat(
      "{{ messages[0].content | length }}{{ messages[0].content[::-1] | length }}"
      "{{ messages[0].content | upper | trim | title | length }}{{ messages[0].content.split() }}");
  EXPECT_NO_THROW(chat.render(messages, true));
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
