#include <algorithm>
#include <utility>

#include <grpo/text.h>

#include "text/chat_template.h"

namespace grpo::inline GRPO_ABI {

std::string r1_zero_prompt(std::string_view question) {
  std::string text =
      "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
      "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
      "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
      "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: ";
  text.append(question);
  return text += ". Assistant:";
}

namespace {

constexpr std::string_view kR1Instruction =
    "\n\nReason step by step inside <think> and </think>, then put your final answer in \\boxed{}.";

std::string place_of(const Json& row) {
  const std::string where = row.where();
  return where.empty() ? "row" : where;
}

std::string columns_of(const Json& row) {
  std::string names;
  for (const auto& [name, value] : row.as_object()) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "nothing" : names;
}

const Json& column(const Json& row, const std::string& name) {
  const Json* value = row.find(name);
  GRPO_CHECK(value && !value->is_null(),
             place_of(row) + ": field '" + name + "' missing; the row has: " + columns_of(row));
  return *value;
}

// Text as it is; numbers and booleans as JSON writes them.
std::string text_of(const Json& row, const std::string& name) {
  const Json& value = column(row, name);
  if (value.is_string()) return value.as_string();
  GRPO_CHECK(value.is_number() || value.is_bool(), place_of(row) + ": field '" + name +
                                                       "': expected text, a number or a boolean, got " +
                                                       value.dump().substr(0, 60));
  return value.dump();
}

const Json& messages_of(const Json& row, const std::string& name) {
  const Json& messages = column(row, name);
  GRPO_CHECK(
      messages.is_list() && messages.size() > 0,
      place_of(row) + ": field '" + name + "': expected a list of messages, got " + messages.dump().substr(0, 60));
  for (const Json& message : messages.as_list()) {
    const Json* role = message.find("role");
    GRPO_CHECK(role && role->is_string(), place_of(row) + ": field '" + name +
                                              "': expected messages {\"role\": text, \"content\": text}, got " +
                                              message.dump().substr(0, 60));
  }
  return messages;
}

bool has_column(const Json& row, const std::string& name) {
  const Json* value = name.empty() ? nullptr : row.find(name);
  return value && !value->is_null();
}

std::vector<Message> plain_messages(const Json& messages) {
  std::vector<Message> plain;
  for (const Json& message : messages.as_list()) {
    const Json* content = message.find("content");
    std::string text;
    if (content && !content->is_null()) text = content->is_string() ? content->as_string() : content->dump();
    plain.push_back({message.at("role").as_string(), std::move(text)});
  }
  return plain;
}

// Appends to the last user message, where the question stands.
void add_instruction(Json& messages, const std::string& place) {
  auto& list = messages.as_list();
  const auto last = std::find_if(list.rbegin(), list.rend(),
                                 [](const Json& message) { return message.at("role").as_string() == "user"; });
  GRPO_CHECK(last != list.rend(), place + ": template r1: expected a user message, got none");
  Json& content = (*last)["content"];
  GRPO_CHECK(content.is_string(),
             place + ": template r1: expected the user's content as text, got " + content.dump().substr(0, 60));
  content = Json(content.as_string() + std::string(kR1Instruction));
}

}  // namespace

struct PromptBuilder::Impl {
  const Tokenizer& tokenizer;
  DataSection data;
  std::optional<ChatRenderer> renderer;

  bool uses_template() const {
    return data.template_kind == TemplateKind::Chat || data.template_kind == TemplateKind::R1;
  }

  RenderedChat render(const Json& row, const Json& messages, bool add_generation_prompt) const {
    GRPO_CHECK(uses_template(), place_of(row) + ": rows with messages need data.template chat or r1");
    GRPO_CHECK(renderer,
               "data.template: expected a model with a chat template; this one has none (use plain or r1_zero)");
    try {
      return renderer->render(messages, add_generation_prompt, data.template_variables);
    } catch (const Error& error) {
      throw Error(place_of(row) + ": " + error.what(), error.kind());
    }
  }

  // The conversation that a row of template chat or r1 asks.
  Json question(const Json& row) const {
    Json messages;
    if (has_column(row, data.messages)) {
      messages = messages_of(row, data.messages);
    } else {
      messages = Json::List{Json::Object{{"role", "user"}, {"content", text_of(row, data.prompt)}}};
    }
    if (data.template_kind == TemplateKind::R1) add_instruction(messages, place_of(row));
    return messages;
  }

  void append(Conversation& conversation, std::string_view text, bool is_assistant) const {
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    conversation.ids.insert(conversation.ids.end(), ids.begin(), ids.end());
    conversation.is_assistant.insert(conversation.is_assistant.end(), ids.size(), is_assistant ? 1 : 0);
  }

  // An assistant's turn. The end-of-turn token is the last special one; white space that the template puts after it
  // is no part of the answer.
  void append_turn(Conversation& conversation, std::string_view text) const {
    const std::size_t begin = conversation.ids.size();
    append(conversation, text, true);
    std::size_t end = conversation.ids.size();
    while (end > begin && !tokenizer.is_special(conversation.ids[end - 1])) --end;
    if (end == begin) return;
    const std::string tail = tokenizer.decode(std::span(conversation.ids).subspan(end));
    if (tail.find_first_not_of(" \t\r\n") != std::string::npos) return;
    std::fill(conversation.is_assistant.begin() + static_cast<std::ptrdiff_t>(end), conversation.is_assistant.end(),
              std::uint8_t{0});
  }

  Conversation from_messages(const Json& row) const;
  Conversation from_marks(const RenderedChat& whole) const;
};

PromptBuilder::PromptBuilder(const Tokenizer& tokenizer, const DataSection& data)
    : impl_(new Impl{tokenizer, data, std::nullopt}) {
  if (impl_->uses_template() && !tokenizer.chat_template().empty()) {
    impl_->renderer.emplace(tokenizer.chat_template(), tokenizer.template_defaults(), "chat template");
  }
}
PromptBuilder::~PromptBuilder() = default;
PromptBuilder::PromptBuilder(PromptBuilder&&) noexcept = default;

Prompt PromptBuilder::build(const Json& row, std::uint64_t index) const {
  GRPO_CHECK(row.is_object(), place_of(row) + ": expected a row as an object");
  const DataSection& data = impl_->data;
  Prompt prompt;
  prompt.row = index;
  const std::uint64_t line = row.line() > 0 ? static_cast<std::uint64_t>(row.line()) : index + 1;
  prompt.id = data.id.empty() ? "line " + std::to_string(line) : text_of(row, data.id);
  if (has_column(row, data.answer)) prompt.answer = text_of(row, data.answer);
  prompt.columns = row;
  EncodeOptions encode;
  switch (data.template_kind) {
    case TemplateKind::R1Zero:
      prompt.text = r1_zero_prompt(text_of(row, data.prompt));
      encode.add_special = true;
      break;
    case TemplateKind::Plain:
      prompt.text = text_of(row, data.prompt);
      encode.add_special = true;
      break;
    case TemplateKind::R1:
    case TemplateKind::Chat: {
      const Json messages = impl_->question(row);
      prompt.messages = plain_messages(messages);
      prompt.text = impl_->render(row, messages, true).text;  // a template writes its own special tokens
      break;
    }
  }
  prompt.ids = impl_->tokenizer.encode(prompt.text, encode);
  GRPO_CHECK(!prompt.ids.empty(), place_of(row) + ": the prompt is empty");
  return prompt;
}

// As transformers' assistant masks: of the whole text's tokens those that reach into a block.
PromptBuilder::Conversation PromptBuilder::Impl::from_marks(const RenderedChat& whole) const {
  Tokenizer::Encoding encoding = tokenizer.encode_with_ranges(whole.text);
  Conversation conversation;
  conversation.is_assistant.assign(encoding.ids.size(), 0);
  conversation.ids = std::move(encoding.ids);
  auto block = whole.generated.begin();  // the first that ends behind the token's begin: both lists are in order
  for (std::size_t i = 0; i < conversation.ids.size(); ++i) {
    const TextRange& range = encoding.ranges[i];
    while (block != whole.generated.end() && block->second <= range.begin) ++block;
    if (block == whole.generated.end()) break;
    conversation.is_assistant[i] = block->first < range.end;
  }
  return conversation;
}

PromptBuilder::Conversation PromptBuilder::Impl::from_messages(const Json& row) const {
  const Json& messages = messages_of(row, data.messages);
  const RenderedChat whole = render(row, messages, false);
  if (renderer->marks_generation()) {
    GRPO_CHECK(!whole.generated.empty(), place_of(row) + ": field '" + data.messages +
                                             "': expected an answer to learn, but the chat template's "
                                             "{% generation %} blocks are empty");
    return from_marks(whole);
  }
  const auto must_continue = [&](const std::string& part, std::size_t at, std::size_t message) {
    GRPO_CHECK(part.size() >= at && whole.text.compare(0, part.size(), part) == 0,
               place_of(row) + ": field '" + data.messages + "': the chat template writes message " +
                   std::to_string(message) + " differently once others follow, so its tokens cannot be told; " +
                   "give one row per answer that ends with it");
  };
  Conversation conversation;
  std::size_t at = 0;
  Json so_far = Json::List();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages.as_list()[i];
    if (message.at("role").as_string() == "assistant") {
      GRPO_CHECK(i > 0,
                 place_of(row) + ": field '" + data.messages + "': a conversation cannot begin with the assistant");
      const std::string before = render(row, so_far, true).text;
      so_far.push_back(message);
      const std::string after = i + 1 == messages.size() ? whole.text : render(row, so_far, false).text;
      must_continue(before, at, i);
      must_continue(after, before.size(), i);
      append(conversation, std::string_view(whole.text).substr(at, before.size() - at), false);
      append_turn(conversation, std::string_view(whole.text).substr(before.size(), after.size() - before.size()));
      at = after.size();
    } else {
      so_far.push_back(message);
    }
  }
  GRPO_CHECK(at > 0, place_of(row) + ": field '" + data.messages + "': expected an assistant's message, got none");
  append(conversation, std::string_view(whole.text).substr(at), false);
  return conversation;
}

PromptBuilder::Conversation PromptBuilder::build_conversation(const Json& row) const {
  GRPO_CHECK(row.is_object(), place_of(row) + ": expected a row as an object");
  if (!has_column(row, "completion") && has_column(row, impl_->data.messages)) return impl_->from_messages(row);
  const std::string completion = text_of(row, "completion");
  Conversation conversation;
  conversation.ids = build(row, 0).ids;
  conversation.is_assistant.assign(conversation.ids.size(), 0);
  impl_->append(conversation, completion, true);
  if (const std::optional<std::int32_t> eos = impl_->tokenizer.eos_id()) {
    conversation.ids.push_back(*eos);
    conversation.is_assistant.push_back(1);
  }
  return conversation;
}

}  // namespace grpo::inline GRPO_ABI
