// Whole templates: equal to what transformers renders, character for character.
#include <fstream>
#include <map>
#include <sstream>

#include <grpo/text.h>
#include <gtest/gtest.h>

#include "text/chat_template.h"

namespace grpo::inline GRPO_ABI {
namespace {

const std::string kGolden = GRPO_SOURCE_DIR "/tests/golden/chat_template/";
const std::string kShared = GRPO_SOURCE_DIR "/../shared/data/tokenizers/";

std::string file_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

const Json& golden() {
  static const Json cases = parse_json(file_text(kGolden + "cases.json"), {"cases.json"});
  return cases;
}

// Renders every case of `model` (empty: those with a source of their own) and returns how many there were.
int check_cases(const std::string& model, const std::string& model_template) {
  int count = 0;
  for (const Json& one : golden().at("cases").as_list()) {
    const Json* name = one.find("model");
    if ((name ? name->as_string() : "") != model) continue;
    ++count;
    const std::string source = model.empty() ? one.at("source").as_string() : model_template;
    const Json defaults = model.empty() ? Json() : golden().at("special").at(model);
    const Json& messages = golden().at("conversations").at(one.at("conversation").as_string());
    const Json& variables = golden().at("variables").at(one.at("variables").as_string());
    const bool prompt = one.at("prompt").as_bool();
    const auto render = [&] { return ChatTemplate(source, defaults).render(messages, prompt, variables); };
    SCOPED_TRACE(model + ": " + one.at("conversation").as_string() + ", " + one.at("variables").as_string() +
                 (prompt ? ", prompt" : "") + (model.empty() ? "\n" + source : ""));
    if (one.at("expected").is_null()) {
      EXPECT_THROW(render(), Error);
    } else {
      EXPECT_EQ(render(), one.at("expected").as_string());
    }
  }
  return count;
}

TEST(ChatTemplate, RendersSmolLM2AsTransformersDoes) {
  EXPECT_EQ(check_cases("smollm2", file_text(kGolden + "smollm2.jinja")), 32);
}

TEST(ChatTemplate, RendersEveryFeatureAsTransformersDoes) { EXPECT_GE(check_cases("", ""), 60); }

class SharedModel : public testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(SharedModel, RendersAsTransformersDoes) {
  const auto [model, num_cases] = GetParam();
  const std::string config = file_text(kShared + model + "/tokenizer_config.json");
  if (config.empty()) GTEST_SKIP() << "needs " << model << "/tokenizer_config.json in ../shared/data/tokenizers";
  EXPECT_EQ(check_cases(model, parse_json(config).at("chat_template").as_string()), num_cases);
}

INSTANTIATE_TEST_SUITE_P(Models, SharedModel, testing::Values(std::pair("qwen3", 80), std::pair("deepseek_v3", 32)),
                         [](const auto& param) { return std::string(param.param.first); });

const Json kMessages = parse_json(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])");

TEST(ChatTemplate, VariablesWinOverDefaultsAndMessagesOverBoth) {
  const ChatTemplate chat("{{ bos }}{{ n }}{{ messages | length }}", parse_json(R"({"bos": "B", "n": 1})"));
  EXPECT_EQ(chat.render(kMessages, false), "B12");
  EXPECT_EQ(chat.render(kMessages, false, parse_json(R"({"n": 5, "messages": []})")), "B52");
}

TEST(ChatTemplate, ErrorsNameTheTemplateAndTheLine) {
  const auto message_of = [](const std::string& source) -> std::string {
    try {
      ChatTemplate(source, {}, "models/m").render(kMessages, true);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message_of("a\n\n{{ raise_exception('no system turn') }}"), "models/m:3: no system turn");
  EXPECT_EQ(message_of("{% for m in messages %}\n{{ m.role }}\n{{ m.nothing.more }}{% endfor %}"),
            "models/m:3: 'dict object' has no attribute 'nothing'");
  EXPECT_EQ(message_of("\n{% if true %}\n"), "models/m:2: the template ends without {% endif %}");
  EXPECT_EQ(message_of("{{ 'abc'.encode() }}"),
            "models/m:1: the method 'encode' of text is not supported in chat templates");
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  const ChatTemplate chat("{{ messages | length }}");
  EXPECT_THROW(chat.render(parse_json(R"({"role": "user"})"), true), Error);
  EXPECT_THROW(chat.render(parse_json(R"(["hi"])"), true), Error);
  EXPECT_THROW(chat.render(Json(Json::List()), true), Error);
  EXPECT_THROW(chat.render(kMessages, true, Json("text")), Error);
}

TEST(ChatTemplate, MarksWhatGenerationBlocksWrite) {
  const ChatRenderer renderer(
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}.{% "
      "endgeneration %}{% endif %}|{% endfor %}",
      {}, "chat template");
  const RenderedChat chat = renderer.render(kMessages, false, {});
  EXPECT_EQ(chat.text, "<user>|<assistant>a.|");
  ASSERT_EQ(chat.generated.size(), 1u);
  EXPECT_EQ(chat.text.substr(chat.generated[0].first, chat.generated[0].second - chat.generated[0].first), "a.");
}

TEST(ChatTemplate, WritesTheTime) {
  const std::string year = ChatTemplate("{{ strftime_now('%Y') }}").render(kMessages, false);
  ASSERT_EQ(year.size(), 4u);
  EXPECT_GE(std::stoi(year), 2024);
}

TEST(ToJson, ListsMessages) {
  const std::vector<Message> messages = {{"user", "q\n"}};
  EXPECT_EQ(to_json(messages).dump(), R"([{"role": "user", "content": "q\n"}])");
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
