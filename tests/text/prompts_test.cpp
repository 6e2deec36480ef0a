#include <algorithm>
#include <functional>

#include <grpo/text.h>
#include <gtest/gtest.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr const char* kChatML =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Bytes, <|im_start|>, <|im_end|> (the end of a turn), and <think> as one token.
Tokenizer make_tokenizer(const std::string& chat_template, bool has_eos = true) {
  Tokenizer::TrainOptions options;
  options.vocab_size = 260;
  options.special_tokens = {"<|im_start|>", "<|im_end|>"};
  options.atomic_tokens = {"<think>"};
  const std::vector<std::string> texts = {"What is 2+2? The answer is 4."};
  Json config;
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  if (has_eos) config["eos_token"] = "<|im_end|>";
  return Tokenizer::from_json(Tokenizer::train(texts, options), config.is_null() ? "" : config.dump());
}

DataSection section(TemplateKind kind) {
  DataSection data;
  data.template_kind = kind;
  return data;
}

Json row(const std::string& json) { return parse_json(json, {"data.jsonl", 7}); }

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(R1Zero, IsVerbatim) {
  EXPECT_EQ(r1_zero_prompt("What is 2+2?"),
            "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
            "assistant first thinks about the reasoning process in the mind and then provides the user with the "
            "answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
            "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: "
            "What is 2+2?. Assistant:");
}

TEST(PromptBuilder, FillsEveryField) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  DataSection data = section(TemplateKind::Plain);
  data.prompt = "question";
  const Json source = row(R"({"question": "2+2=", "answer": 4, "level": [1]})");
  const Prompt prompt = PromptBuilder(tokenizer, data).build(source, 11);
  EXPECT_EQ(prompt.row, 11u);
  EXPECT_EQ(prompt.id, "line 7");
  EXPECT_EQ(prompt.text, "2+2=");
  EXPECT_EQ(prompt.ids, tokenizer.encode("2+2="));
  EXPECT_EQ(prompt.answer, "4");
  EXPECT_TRUE(prompt.messages.empty());
  EXPECT_EQ(prompt.columns, source);
}

TEST(PromptBuilder, TakesNumbersAndBooleansAsWritten) {
  const Tokenizer tokenizer = make_tokenizer("");
  DataSection data = section(TemplateKind::Plain);
  data.id = "key";
  const PromptBuilder builder(tokenizer, data);
  const Prompt number = builder.build(row(R"({"prompt": 12.5, "answer": true, "key": 3})"), 0);
  EXPECT_EQ(number.text, "12.5");
  EXPECT_EQ(number.answer, "true");
  EXPECT_EQ(number.id, "3");
  EXPECT_FALSE(builder.build(row(R"({"prompt": "q", "answer": null, "key": "k"})"), 0).answer.has_value());
}

TEST(PromptBuilder, RendersEachTemplate) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const Json question = row(R"({"prompt": "q"})");
  EXPECT_EQ(PromptBuilder(tokenizer, section(TemplateKind::R1Zero)).build(question, 0).text, r1_zero_prompt("q"));
  const Prompt chat = PromptBuilder(tokenizer, section(TemplateKind::Chat)).build(question, 0);
  EXPECT_EQ(chat.text, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(chat.ids, tokenizer.encode(chat.text));
  ASSERT_EQ(chat.messages.size(), 1u);
  EXPECT_EQ(chat.messages[0].content, "q");
  const Prompt r1 = PromptBuilder(tokenizer, section(TemplateKind::R1)).build(question, 0);
  EXPECT_EQ(r1.text.find("<|im_start|>user\nq\n\n"), 0u);
  EXPECT_NE(r1.text.find("<think>"), std::string::npos);
  EXPECT_NE(r1.text.find("\\boxed{}"), std::string::npos);
}

TEST(PromptBuilder, MessagesWinOverThePromptColumn) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const Json both =
      row(R"({"prompt": "no", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]})");
  const Prompt chat = PromptBuilder(tokenizer, section(TemplateKind::Chat)).build(both, 0);
  EXPECT_EQ(chat.text, "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
  const Prompt r1 = PromptBuilder(tokenizer, section(TemplateKind::R1)).build(both, 0);
  EXPECT_NE(r1.text.find("user\nq\n\nReason"), std::string::npos);
}

TEST(PromptBuilder, HandsVariablesToTheTemplate) {
  const Tokenizer tokenizer = make_tokenizer("{{ messages[0].content }}{{ eos_token }}{{ mode }}");
  DataSection data = section(TemplateKind::Chat);
  data.template_variables = parse_json(R"({"mode": "!"})");
  EXPECT_EQ(PromptBuilder(tokenizer, data).build(row(R"({"prompt": "q"})"), 0).text, "q<|im_end|>!");
}

TEST(PromptBuilder, ErrorsNameFileLineAndField) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const PromptBuilder plain(tokenizer, section(TemplateKind::Plain));
  EXPECT_EQ(error_of([&] { plain.build(row(R"({"question": 1, "answer": 2})"), 0); }),
            "data.jsonl:7:1: field 'prompt' missing; the row has: question, answer");
  EXPECT_EQ(error_of([&] { plain.build(row(R"({"prompt": {"a": 1}})"), 0); }),
            "data.jsonl:7:1: field 'prompt': expected text, a number or a boolean, got {\"a\": 1}");
  EXPECT_NE(error_of([&] { plain.build(row(R"({"prompt": ""})"), 0); }).find("the prompt is empty"), std::string::npos);
  const PromptBuilder chat(tokenizer, section(TemplateKind::Chat));
  for (const char* messages : {"[]", "\"hi\"", "[1]", "[{\"content\": \"x\"}]", "[{\"role\": 1}]"}) {
    const std::string error = error_of([&] { chat.build(row(R"({"messages": )" + std::string(messages) + "}"), 0); });
    EXPECT_EQ(error.find("data.jsonl:7:1: field 'messages'"), 0u) << error;
  }
  EXPECT_EQ(error_of([&] {
              chat.build(row(R"({"messages": [{"role": "user", "content": 1}]})"), 0);
            }).find("data.jsonl:7:1: chat template:1: "),
            0u);
  const Tokenizer bare = make_tokenizer("");
  EXPECT_NE(error_of([&] {
              PromptBuilder(bare, section(TemplateKind::Chat)).build(row(R"({"prompt": "q"})"), 0);
            }).find("expected a model with a chat template"),
            std::string::npos);
}

// The text of the tokens that the loss sees, one string per run of them.
std::vector<std::string> learned(const Tokenizer& tokenizer, const PromptBuilder::Conversation& conversation) {
  EXPECT_EQ(conversation.ids.size(), conversation.is_assistant.size());
  std::vector<std::string> runs;
  for (std::size_t i = 0; i < conversation.ids.size(); ++i) {
    if (!conversation.is_assistant[i]) continue;
    if (i == 0 || !conversation.is_assistant[i - 1]) runs.emplace_back();
    runs.back() += tokenizer.token_bytes(conversation.ids[i]);
  }
  return runs;
}

TEST(BuildConversation, LearnsContentAndEndOfTurn) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const PromptBuilder builder(tokenizer, section(TemplateKind::Chat));
  const auto conversation = builder.build_conversation(row(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b <think>"},
          {"role": "user", "content": "c"}, {"role": "assistant", "content": ""}]})"));
  EXPECT_EQ(learned(tokenizer, conversation), (std::vector<std::string>{"b <think><|im_end|>", "<|im_end|>"}));
  EXPECT_EQ(tokenizer.decode(conversation.ids),
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb <think><|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
            "<|im_start|>assistant\n<|im_end|>\n");
}

TEST(BuildConversation, PromptIdsAreThoseTheSamplerSees) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const PromptBuilder builder(tokenizer, section(TemplateKind::Chat));
  const std::vector<std::int32_t> prompt = builder.build(row(R"({"prompt": "q"})"), 0).ids;
  const auto conversation = builder.build_conversation(
      row(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "\n\nanswer"}]})"));
  ASSERT_GT(conversation.ids.size(), prompt.size());
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), conversation.ids.begin()));
  EXPECT_EQ(conversation.is_assistant[prompt.size() - 1], 0);
  EXPECT_EQ(conversation.is_assistant[prompt.size()], 1);
}

TEST(BuildConversation, PromptAndCompletionEndWithEos) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const Json pair = row(R"({"prompt": "2+2=", "completion": "4"})");
  const PromptBuilder plain(tokenizer, section(TemplateKind::Plain));
  auto conversation = plain.build_conversation(pair);
  EXPECT_EQ(learned(tokenizer, conversation), std::vector<std::string>{"4<|im_end|>"});
  EXPECT_EQ(tokenizer.decode(conversation.ids), "2+2=4<|im_end|>");
  const PromptBuilder chat(tokenizer, section(TemplateKind::Chat));
  conversation = chat.build_conversation(pair);
  EXPECT_EQ(tokenizer.decode(conversation.ids), "<|im_start|>user\n2+2=<|im_end|>\n<|im_start|>assistant\n4<|im_end|>");
  const Tokenizer endless = make_tokenizer(kChatML, false);
  EXPECT_EQ(learned(endless, PromptBuilder(endless, section(TemplateKind::Plain)).build_conversation(pair)),
            std::vector<std::string>{"4"});
}

TEST(BuildConversation, GenerationBlocksDecide) {
  const Tokenizer tokenizer = make_tokenizer(
      "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% "
      "endgeneration %}{% else %}{{ m.content }}{% endif %};{% endfor %}");
  const auto conversation = PromptBuilder(tokenizer, section(TemplateKind::Chat))
                                .build_conversation(row(R"({"messages": [{"role": "user", "content": "a"},
                                    {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"}]})"));
  EXPECT_EQ(learned(tokenizer, conversation), (std::vector<std::string>{"b<|im_end|>", "c<|im_end|>"}));
}

TEST(BuildConversation, GenerationBlocksTakeTokensThatReachIntoThem) {
  Tokenizer::TrainOptions options;
  options.vocab_size = 270;
  options.special_tokens = {"<|im_end|>"};
  const std::vector<std::string> texts = {"abcabcabc abcabcabc"};  // one token: abc
  const Json config = Json::Object{
      {"chat_template",
       "{% for m in messages %}{% generation %}{% endgeneration %}{{ m.content }}{% generation %}{% if m.role == "
       "'assistant' %}{% generation %}b{% endgeneration %}{% endif %}{% endgeneration %}c {% endfor %}"}};
  const Tokenizer tokenizer = Tokenizer::from_json(Tokenizer::train(texts, options), config.dump());
  const PromptBuilder builder(tokenizer, section(TemplateKind::Chat));
  const auto conversation = builder.build_conversation(
      row(R"({"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "a"}]})"));
  EXPECT_EQ(tokenizer.decode(conversation.ids), "abc abc ");
  EXPECT_EQ(learned(tokenizer, conversation), std::vector<std::string>{"abc"});
  EXPECT_EQ(error_of([&] { builder.build_conversation(row(R"({"messages": [{"role": "user", "content": "q"}]})")); }),
            "data.jsonl:7:1: field 'messages': expected an answer to learn, but the chat template's {% generation %} "
            "blocks are empty");
}

TEST(BuildConversation, RaiseExceptionNamesTheRow) {
  const Tokenizer tokenizer =
      make_tokenizer("{% if messages[0].role == 'system' %}\n{{ raise_exception('no system turn') }}{% endif %}");
  const PromptBuilder builder(tokenizer, section(TemplateKind::Chat));
  const Json system =
      row(R"({"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]})");
  EXPECT_EQ(error_of([&] { builder.build_conversation(system); }), "data.jsonl:7:1: chat template:2: no system turn");
  EXPECT_EQ(error_of([&] { builder.build(system, 0); }), "data.jsonl:7:1: chat template:2: no system turn");
}

TEST(BuildConversation, RefusesTemplatesThatRewriteHistory) {
  // Like Qwen3: thinking stays only in the last answer.
  const Tokenizer tokenizer = make_tokenizer(
      "{% for m in messages %}{{ m.role }}:{{ m.content if loop.last else m.content.split('</think>')[-1] "
      "}}<|im_end|>{% "
      "endfor %}{% if add_generation_prompt %}assistant:{% endif %}");
  const PromptBuilder builder(tokenizer, section(TemplateKind::Chat));
  const std::string two =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "t</think>b"},
      {"role": "user", "content": "c"}, {"role": "assistant", "content": "t</think>d"}]})";
  EXPECT_EQ(error_of([&] {
              builder.build_conversation(row(two));
            }).find("data.jsonl:7:1: field 'messages': the chat template writes message 1 differently"),
            0u);
  const auto conversation = builder.build_conversation(
      row(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "t</think>b"}]})"));
  EXPECT_EQ(learned(tokenizer, conversation), std::vector<std::string>{"t</think>b<|im_end|>"});
}

TEST(BuildConversation, RefusesRowsWithNothingToLearn) {
  const Tokenizer tokenizer = make_tokenizer(kChatML);
  const PromptBuilder chat(tokenizer, section(TemplateKind::Chat));
  EXPECT_NE(error_of([&] {
              chat.build_conversation(row(R"({"messages": [{"role": "user", "content": "a"}]})"));
            }).find("expected an assistant's message"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              chat.build_conversation(row(R"({"messages": [{"role": "assistant", "content": "a"}]})"));
            }).find("cannot begin with the assistant"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { chat.build_conversation(row(R"({"prompt": "q"})")); }),
            "data.jsonl:7:1: field 'completion' missing; the row has: prompt");
  const PromptBuilder plain(tokenizer, section(TemplateKind::Plain));
  EXPECT_NE(error_of([&] {
              plain.build_conversation(row(R"({"messages": [{"role": "user", "content": "a"}]})"));
            }).find("need data.template chat or r1"),
            std::string::npos);
}

TEST(FinishReason, NamesGoBothWays) {
  for (const FinishReason reason : {FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled}) {
    EXPECT_EQ(finish_reason_from(to_string(reason)), reason);
  }
  EXPECT_EQ(to_string(FinishReason::Length), "length");
  EXPECT_THROW(finish_reason_from("Stop"), Error);
}

}  // namespace
}  // namespace grpo::inline GRPO_ABI
