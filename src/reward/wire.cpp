#include "reward/wire.h"

namespace grpo::wire {
namespace {

std::uint64_t number_up_to(Reader& reader, std::uint64_t most) {
  const std::uint64_t value = reader.number();
  if (value > most) throw Error("reward worker: a message with a number out of range", ErrorKind::Internal);
  return value;
}

template <class Enum>
Enum enumerator(Reader& reader, Enum last) {
  return static_cast<Enum>(number_up_to(reader, static_cast<std::uint64_t>(last)));
}

}  // namespace

void write(Writer& writer, const RewardInput& input) {
  writer.text(input.prompt());
  writer.number(input.messages().size());
  for (const Message& message : input.messages()) {
    writer.text(message.role);
    writer.text(message.content);
  }
  writer.text(input.completion());
  const auto ids = input.token_ids();
  writer.array(ids);
  writer.number(static_cast<std::uint64_t>(input.finish_reason()));
  writer.number(input.has_reference() ? 1 : 0);
  writer.text(input.reference());
  writer.text(input.columns().dump());
  writer.number(static_cast<std::uint64_t>(input.step()));
  writer.number(input.is_evaluation() ? 1 : 0);
  writer.number(static_cast<std::uint64_t>(input.think_mode()));
}

std::shared_ptr<const RewardInput::Data> read_input(Reader& reader) {
  auto data = std::make_shared<RewardInput::Data>();
  data->prompt = reader.text();
  for (std::uint64_t left = reader.number(); left > 0; --left) {
    const std::string_view role = reader.text();
    data->messages.push_back({std::string(role), std::string(reader.text())});
  }
  data->completion = reader.text();
  data->token_ids = reader.array<std::int32_t>();
  data->finish_reason = enumerator(reader, FinishReason::Cancelled);
  const bool has_reference = reader.number() != 0;
  const std::string_view reference = reader.text();
  if (has_reference) data->reference = reference;
  data->columns = parse_json(reader.text());
  data->step = static_cast<std::int64_t>(reader.number());
  data->is_evaluation = reader.number() != 0;
  data->think_mode = enumerator(reader, ThinkMode::None);
  return data;
}

void write(Writer& writer, const PluginDeclaration& declaration) {
  writer.text(declaration.type);
  writer.text(declaration.doc);
  writer.number(declaration.compares_answers ? 1 : 0);
  writer.number(declaration.has_applies ? 1 : 0);
  writer.number(declaration.has_check_row ? 1 : 0);
  writer.number(declaration.params.size());
  for (const PluginParam& param : declaration.params) {
    writer.number(param.type);
    writer.text(param.name);
    writer.text(param.doc);
    writer.number(param.is_required ? 1 : 0);
    writer.text(param.default_value.dump());
    writer.real(param.range.low);
    writer.real(param.range.high);
  }
}

PluginDeclaration read_declaration(Reader& reader) {
  PluginDeclaration made;
  made.type = reader.text();
  made.doc = reader.text();
  made.compares_answers = reader.number() != 0;
  made.has_applies = reader.number() != 0;
  made.has_check_row = reader.number() != 0;
  for (std::uint64_t left = reader.number(); left > 0; --left) {
    PluginParam param;
    param.type = static_cast<std::uint32_t>(number_up_to(reader, GRPO_TEXT));
    param.name = reader.text();
    param.doc = reader.text();
    param.is_required = reader.number() != 0;
    param.default_value = parse_json(reader.text());
    param.range.low = reader.real();
    param.range.high = reader.real();
    made.params.push_back(std::move(param));
  }
  return made;
}

}  // namespace grpo::wire
