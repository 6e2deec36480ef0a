// The schema says what loading does: a validator of the keywords it uses judges files and single values, and the loader
// judges them as well.
#include <grpo/config.h>

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/config_fields.h"
#include "base/error_text.h"
#include "base/known_names.h"
#include "base/presets.h"

namespace grpo::inline GRPO_ABI {
namespace {

const Json& schema() {
  static const Json parsed = parse_json(config_schema());
  return parsed;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number() && value.as_double() == std::floor(value.as_double());
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_bool();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_list();
  if (type == "object") return value.is_object();
  EXPECT_EQ(type, "null");
  return value.is_null();
}

// "" or what is wrong, of the keywords that the schema uses (an unknown one is wrong as well).
std::string violation(const Json& rule, const Json& value, const std::string& path) {
  for (const auto& [keyword, wanted] : rule.as_object()) {
    bool holds = true;
    if (keyword == "type") {
      holds = wanted.is_string() && has_type(value, wanted.as_string());
      if (wanted.is_list())
        for (const Json& type : wanted.as_list()) holds = holds || has_type(value, type.as_string());
    } else if (keyword == "enum") {
      holds = false;
      for (const Json& choice : wanted.as_list()) holds = holds || choice == value;
    } else if (keyword == "minimum") {
      holds = !value.is_number() || value.as_double() >= wanted.as_double();
    } else if (keyword == "exclusiveMinimum") {
      holds = !value.is_number() || value.as_double() > wanted.as_double();
    } else if (keyword == "maximum") {
      holds = !value.is_number() || value.as_double() <= wanted.as_double();
    } else if (keyword == "exclusiveMaximum") {
      holds = !value.is_number() || value.as_double() < wanted.as_double();
    } else if (keyword == "maxItems") {
      holds = static_cast<std::int64_t>(value.size()) <= wanted.as_int();
    } else if (keyword == "items") {
      for (const Json& item : value.is_list() ? value.as_list() : Json::List{})
        if (const std::string text = violation(wanted, item, path + "[]"); !text.empty()) return text;
    } else if (keyword == "properties") {
      for (const auto& [key, child] : value.is_object() ? value.as_object() : Json::Object{}) {
        const Json* known = wanted.find(key);
        if (!known) return path + "." + key + ": not among the properties";
        if (const std::string text = violation(*known, child, path + "." + key); !text.empty()) return text;
      }
    } else if (keyword != "description" && keyword != "default" && keyword != "additionalProperties" &&
               keyword != "$schema" && keyword != "title") {
      return "keyword " + keyword;
    }
    if (!holds) return path + ": " + value.dump() + " against " + keyword + " " + wanted.dump();
  }
  return "";
}

TEST(ConfigSchema, EveryConfigOfTheRepositoryValidates) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GRPO_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    EXPECT_EQ(violation(schema(), load_tree(entry.path()), ""), "") << entry.path();
    ++count;
  }
  EXPECT_GE(count, 3);
}

TEST(ConfigSchema, WrittenConfigsAndPresetsValidate) {
  EXPECT_EQ(violation(schema(), config_to_tree(RunConfig{}), ""), "");
  for (const std::string& name : preset_names()) EXPECT_EQ(violation(schema(), preset_tree(name), ""), "") << name;
}

// Every field is there, with its default, its line of text and closed objects; every alias is there as well.
void expect_fields(const std::vector<fields::FieldInfo>& infos, const Json& object, const std::string& path) {
  EXPECT_EQ(object.at("type"), Json("object")) << path;
  EXPECT_EQ(object.at("additionalProperties"), Json(false)) << path;
  for (const auto& info : infos) {
    const Json* found = object.at("properties").find(info.name);
    ASSERT_NE(found, nullptr) << path << info.name;
    EXPECT_EQ(found->at("description"), Json(info.doc));
    if (info.children.empty()) {
      EXPECT_EQ(found->at("default"), info.default_value) << path << info.name;
      EXPECT_EQ(violation(*found, info.default_value, path + info.name), "");
    } else {
      expect_fields(info.children, info.is_list ? found->at("items") : *found, path + info.name + ".");
    }
  }
}

TEST(ConfigSchema, HoldsEveryField) {
  EXPECT_EQ(schema().at("$schema"), Json("https://json-schema.org/draft/2020-12/schema"));
  expect_fields(fields::field_infos(fields::run_fields()), schema(), "");
  for (const Alias& alias : aliases()) {
    const std::string path(alias.path);
    const std::size_t dot = path.find('.');
    const Json& properties = dot == path.npos ? schema().at("properties")
                                              : schema().at("properties").at(path.substr(0, dot)).at("properties");
    EXPECT_NE(properties.find(path.substr(dot + 1)), nullptr) << path;
  }
}

// Values at the edges: schema and loader take and refuse the same.
TEST(ConfigSchema, AgreesWithTheLoader) {
  const std::string start = "model: {path: m}\ndata: {train: d}\nrewards: [{name: accuracy}]\n";
  const std::pair<const char*, bool> cases[] = {
      {"gates: []", true},
      {"gates: [{a: 1}]", false},
      {"$schema: grpo.schema.json", true},
      {"grpo: {beta: 0}", true},
      {"grpo: {beta: -0.5}", false},
      {"grpo: {beta: high}", false},
      {"grpo: {bata: 1}", false},
      {"grpo: {num_generations: 0}", false},
      {"grpo: {num_generations: 2.5}", false},
      {"grpo: {scale_rewards: true}", true},
      {"grpo: {scale_rewards: batch}", true},
      {"grpo: {scale_rewards: 1}", false},
      {"grpo: {epsilon_high: null}", true},
      {"grpo: {epsilon: null}", false},
      {"grpo: {delta: 1}", false},
      {"grpo: {delta: 1.5}", true},
      {"grpo: {stop: [a, b]}", true},
      {"grpo: {stop: [1]}", false},
      {"grpo: {stop: a}", false},
      {"grpo: {ref_model_sync_steps: 4}", true},
      {"grpo: {max_prompt_length: 4}", true},
      {"optimizer: {beta1: 1}", false},
      {"optimizer: {schedule: cosine_with_min_lr}", true},
      {"optimizer: {schedule: cosin}", false},
      {"steps: 5", true},
      {"device: gpu", false},
      {"preset: trl", true},
      {"preset: \"\"", true},
      {"preset: rtl", false},
      {"model: {path: m, torch_dtype: bfloat16}", true},
      {"rewards: [{name: accuracy, schedule: {start: 1}, params: null, when: {a: [1]}}]", true},
      {"rewards: [{name: accuracy, schedule: {begin: 1}}]", false},
      {"rewards: [{name: accuracy, timeout_s: 0}]", false},
      {"rewards: {name: accuracy}", false},
  };
  for (const auto& [text, fine] : cases) {
    Json tree = parse_yaml(start);
    const Json more = parse_yaml(text);
    tree[more.as_object()[0].first] = more.as_object()[0].second;
    EXPECT_EQ(violation(schema(), tree, "") == "", fine) << text << ": " << violation(schema(), tree, "");
    if (fine) {
      EXPECT_NO_THROW(config_from_tree(tree)) << text;
    } else {
      EXPECT_THROW(config_from_tree(tree), Error) << text;
    }
  }
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
