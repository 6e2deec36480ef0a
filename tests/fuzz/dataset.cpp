// JSONL files and the prompts made from their rows, with every kind of template.
#include <memory>
#include <vector>

#include <grpo/text.h>

#include "tests/fuzz/memory_file.h"

namespace {

using namespace grpo;

constexpr const char* kTokenizer =
    R"({"version": "1.0", "added_tokens": [{"id": 3, "content": "<|end|>", "special": true,
  "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}], "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": null, "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";
constexpr const char* kTokenizerConfig =
    R"({"eos_token": "<|end|>", "chat_template": "{% for m in messages %}{{ m.role }}:{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"})";

std::vector<PromptBuilder> make_builders(const Tokenizer& tokenizer) {
  std::vector<PromptBuilder> builders;
  for (const TemplateKind kind : {TemplateKind::R1Zero, TemplateKind::R1, TemplateKind::Chat, TemplateKind::Plain}) {
    DataSection data;
    data.template_kind = kind;
    if (kind == TemplateKind::Plain) data.id = "id";
    builders.emplace_back(tokenizer, data);
  }
  return builders;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer tokenizer = Tokenizer::from_json(kTokenizer, kTokenizerConfig);
  static const std::vector<PromptBuilder> builders = make_builders(tokenizer);
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  std::unique_ptr<const Dataset> dataset;
  if (!fuzz::accepts([&] { dataset = std::make_unique<const Dataset>(Dataset::load(file.path())); })) return 0;
  for (std::size_t i = 0; i < dataset->size(); ++i) {
    for (const PromptBuilder& builder : builders) {
      fuzz::accepts([&] { builder.build(dataset->row(i), i); });
      fuzz::accepts([&] {
        const auto conversation = builder.build_conversation(dataset->row(i));
        fuzz::expect(conversation.ids.size() == conversation.is_assistant.size(), "every id has its mask");
      });
    }
  }
  return 0;
}
