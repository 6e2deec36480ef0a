#include "reward/wire.h"

#include <cstring>

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

void Writer::number(std::uint64_t value) { frame_.append(reinterpret_cast<const char*>(&value), sizeof value); }
void Writer::real(double value) { frame_.append(reinterpret_cast<const char*>(&value), sizeof value); }
void Writer::text(std::string_view value) {
  number(value.size());
  frame_ += value;
}

std::uint64_t Reader::number() {
  std::uint64_t value = 0;
  if (rest_.size() < sizeof value) throw Error("reward worker: a message is too short", ErrorKind::Internal);
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_.remove_prefix(sizeof value);
  return value;
}
double Reader::real() {
  const std::uint64_t bits = number();
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
std::string_view Reader::text() {
  const std::uint64_t size = number();
  if (rest_.size() < size) throw Error("reward worker: a message is too short", ErrorKind::Internal);
  const std::string_view value = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return value;
}

void write(Writer& writer, const RewardInput& input) {
  writer.text(input.prompt());
  writer.number(input.messages().size());
  for (const Message& message : input.messages()) {
    writer.text(message.role);
    writer.text(message.content);
  }
  writer.text(input.completion());
  const auto ids = input.token_ids();
  writer.text({reinterpret_cast<const char*>(ids.data()), ids.size_bytes()});
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
  const std::string_view ids = reader.text();
  if (ids.size() % sizeof(std::int32_t) != 0) {
    throw Error("reward worker: a message with half a token id", ErrorKind::Internal);
  }
  data->token_ids.resize(ids.size() / sizeof(std::int32_t));
  if (!ids.empty()) std::memcpy(data->token_ids.data(), ids.data(), data->token_ids.size() * sizeof(std::int32_t));
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
