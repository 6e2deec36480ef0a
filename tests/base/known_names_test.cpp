// Names that people bring from TRL: each is a key, another name of one, or answered by a sentence.
#include "base/known_names.h"

#include <gtest/gtest.h>

#include <fstream>

#include <grpo/config.h>

#include "base/config_fields.h"
#include "base/error_text.h"
#include "base/tree_path.h"

namespace grpo::inline GRPO_ABI {
namespace {

std::vector<std::string> trl_fields() {
  std::ifstream file(GRPO_SOURCE_DIR "/tests/base/trl_fields.txt");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') names.push_back(line);
  }
  return names;
}

// What is said about `section: {name: null}`. Few keys take a null; the others' complaint is then about the value.
std::string complaint(const std::string& section, const std::string& name) {
  Json tree = parse_json(R"({"model": {"path": "m"}, "data": {"train": "d"}, "rewards": [{"name": "accuracy"}]})");
  (section.empty() ? tree : tree[section])[name] = nullptr;
  try {
    config_from_tree(tree);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(KnownNames, EveryFieldOfTrlHasAnAnswer) {
  const std::vector<std::string> names = trl_fields();
  ASSERT_GT(names.size(), 130u);
  for (const char* section : {"", "grpo", "optimizer", "data", "model", "eval", "sft"}) {
    for (const std::string& name : names) {
      EXPECT_EQ(complaint(section, name).find("unknown key"), std::string::npos) << section << ": " << name;
    }
  }
  EXPECT_NE(complaint("grpo", "num_generation").find("unknown key"), std::string::npos);  // the test can fail
}

TEST(KnownNames, AliasesLeadToFields) {
  for (const Alias& alias : aliases()) {
    Json tree;
    apply_override(tree, std::string(alias.path) + "=1");
    EXPECT_NE(find_path(tree, std::string(alias.key)), nullptr) << alias.path;
    EXPECT_NE(find_path(config_to_tree(RunConfig{}), std::string(alias.key)), nullptr) << alias.key;
  }
}

TEST(KnownNames, TheLongestPromptIsTakenWhereOldRecipesHaveIt) {
  const std::string start = "rewards: [{name: accuracy}]\nmodel: {path: m}\ndata: {train: d}\n";
  const auto load = [&](const std::string& more) { return config_from_tree(parse_yaml(start + more, "r.yaml")); };
  EXPECT_EQ(load("grpo: {max_prompt_length: 256}").data.max_prompt_length, 256);
  EXPECT_EQ(load("max_prompt_length: 255").data.max_prompt_length, 255);
  EXPECT_EQ(error_text([&] { load("grpo: {max_prompt_length: -1}"); }),
            "r.yaml:4:27: data.max_prompt_length: expected an integer >= 0, got -1");
  EXPECT_EQ(error_text([&] { load("grpo: {max_prompt_length: 1}\nmax_prompt_length: 2"); }),
            "r.yaml:4:27: grpo.max_prompt_length: expected one of \"max_prompt_length\" and "
            "\"data.max_prompt_length\", which mean the same, got both (the other in line 5)");
  EXPECT_EQ(error_text([&] { load("optimizer: {max_prompt_length: 1}"); }),
            "r.yaml:4:32: optimizer.max_prompt_length: stands as data.max_prompt_length here");
  EXPECT_EQ(error_text([] { grpo_section_from_tree(parse_json(R"({"max_prompt_length": 5})")); }),
            "line 1: grpo.max_prompt_length: stands as data.max_prompt_length here");
  EXPECT_EQ(error_text([] {
              config_from_tree(parse_yaml("data: d\ngrpo: {max_prompt_length: 1}\n", "r.yaml"));
            }).find("max_prompt_length: unknown"),
            std::string::npos);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
