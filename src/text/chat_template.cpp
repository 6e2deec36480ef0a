#include "text/chat_template.h"

#include <algorithm>
#include <array>

#include <grpo/error.h>
#include <grpo/text.h>

#include "base/utf8.h"
#include "text/jinja_interpreter.h"

namespace grpo::inline GRPO_ABI {

namespace {

// What `transformers` does to a message: fields that are null are left out, and its reasoning, which goes by three
// names, is there under the two that templates read.
Json prepared(const Json& message) {
  static constexpr std::array<const char*, 3> kReasoning = {"reasoning_content", "thinking", "reasoning"};
  Json given = Json::Object();
  for (const auto& [key, value] : message.as_object()) {
    if (!value.is_null()) given.as_object().emplace_back(key, value);
  }
  const auto name =
      std::find_if(kReasoning.begin(), kReasoning.end(), [&](const char* key) { return given.find(key); });
  if (name == kReasoning.end()) return given;
  const Json reasoning = given.at(*name);
  Json::Object named;
  if (!given.find("thinking")) named.emplace_back("thinking", reasoning);
  for (const auto& [key, value] : given.as_object()) {
    named.emplace_back(key, key == "reasoning_content" ? reasoning : value);
  }
  if (!given.find("reasoning_content")) named.emplace_back("reasoning_content", reasoning);
  return Json(std::move(named));
}

Json prepared_messages(const Json& messages, const std::string& source_name) {
  GRPO_CHECK(messages.is_list(), source_name + ": messages: expected a list of objects");
  GRPO_CHECK(messages.size() > 0, source_name + ": messages: expected at least one, got none");
  Json::List list;
  for (const Json& message : messages.as_list()) {
    GRPO_CHECK(message.is_object(),
               source_name + ": messages: expected a list of objects, got an item " + message.dump());
    list.push_back(prepared(message));
  }
  return Json(std::move(list));
}

// Later sources win.
jinja::Value merged(std::initializer_list<const Json*> sources) {
  std::vector<std::pair<jinja::Value, jinja::Value>> entries;
  for (const Json* source : sources) {
    if (!source->is_object()) continue;
    for (const auto& [name, value] : source->as_object()) {
      const auto same = std::find_if(entries.begin(), entries.end(),
                                     [&key = name](const auto& entry) { return *entry.first.as_text() == key; });
      if (same != entries.end()) {
        same->second = jinja::from_json(value);
      } else {
        entries.emplace_back(jinja::Value(name), jinja::from_json(value));
      }
    }
  }
  return jinja::Value::dict(std::move(entries));
}

}  // namespace

ChatRenderer::ChatRenderer(std::string_view source, const Json& defaults, const std::string& source_name)
    : source_name_(source_name), defaults_(defaults) {
  GRPO_CHECK(find_invalid_utf8(source) == source.size(), source_name + ": the template is not valid UTF-8");
  GRPO_CHECK(source.size() <= (std::size_t{1} << 20), source_name + ": the template is larger than 1 MiB");
  GRPO_CHECK(defaults.is_null() || defaults.is_object(), source_name + ": defaults: expected an object or null");
  tree_ = jinja::parse(source, source_name);
}

RenderedChat ChatRenderer::render(const Json& messages, bool add_generation_prompt, const Json& variables) const {
  GRPO_CHECK(variables.is_null() || variables.is_object(), source_name_ + ": variables: expected an object or null");
  int line = 1;
  try {
    const Json base = Json::Object{{"tools", nullptr}, {"documents", nullptr}};
    const Json call = Json::Object{{"messages", prepared_messages(messages, source_name_)},
                                   {"add_generation_prompt", add_generation_prompt}};
    const jinja::Value all = merged({&base, &defaults_, &variables, &call});
    jinja::Interpreter interpreter(tree_, *all.as_dict());
    try {
      jinja::Interpreter::Result result = interpreter.run();
      return {std::move(result.text), std::move(result.generated)};
    } catch (const jinja::Failure&) {
      line = interpreter.line();
      throw;
    }
  } catch (const jinja::Failure& failure) {
    throw Error(source_name_ + ":" + std::to_string(line) + ": " + failure.what());
  }
}

struct ChatTemplate::Impl {
  ChatRenderer renderer;
};

ChatTemplate::ChatTemplate(std::string_view source, Json defaults, const std::string& source_name)
    : impl_(new Impl{ChatRenderer(source, defaults, source_name)}) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const Json& messages, bool add_generation_prompt, const Json& variables) const {
  return impl_->renderer.render(messages, add_generation_prompt, variables).text;
}

Json to_json(std::span<const Message> messages) {
  Json::List list;
  for (const Message& message : messages) {
    list.push_back(Json::Object{{"role", message.role}, {"content", message.content}});
  }
  return Json(std::move(list));
}

}  // namespace grpo::inline GRPO_ABI
