// Reads TensorBoard's event files back: TFRecord's frames with their checks, and in them tensorflow.Event as protocol
// buffers. Written from the formats' descriptions, apart from the writer in src/metrics.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpo/error.h>

namespace grpo::testing {

struct Event {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string file_version;                           // of the first event of a file
  bool starts_session = false;                        // earlier events of this step and later ones are void
  std::vector<std::pair<std::string, float>> values;  // tag, simple_value
};

// CRC-32C bit by bit, and the mask that TFRecord puts over it.
inline std::uint32_t masked_crc(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0x82F63B78U & (0U - (crc & 1U)));
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

// Takes a message apart; each call leaves what follows.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}
  bool at_end() const { return rest_.empty(); }

  std::string_view take(std::uint64_t count) {
    GRPO_CHECK(count <= rest_.size(),
               "event file: " + std::to_string(count) + " bytes wanted, " + std::to_string(rest_.size()) + " left");
    const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(count));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::uint64_t fixed(int bytes) {
    const std::string_view taken = take(static_cast<std::uint64_t>(bytes));
    std::uint64_t value = 0;
    for (std::size_t i = taken.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(taken[i]);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      GRPO_CHECK(shift < 63 || byte <= 1, "event file: a varint beyond 64 bits");
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    throw Error("event file: a varint of more than ten bytes");
  }

  struct Field {
    std::uint64_t number = 0;
    unsigned kind = 0;         // 0 varint, 1 eight bytes, 2 bytes with a length, 5 four bytes
    std::uint64_t value = 0;   // of kinds 0, 1 and 5
    std::string_view content;  // of kind 2
  };
  Field field() {
    const std::uint64_t key = varint();
    Field field{key >> 3, static_cast<unsigned>(key & 7), 0, {}};
    GRPO_CHECK(field.number != 0, "event file: a field with number 0");
    switch (field.kind) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = fixed(8);
        break;
      case 2:
        field.content = take(varint());
        break;
      case 5:
        field.value = fixed(4);
        break;
      default:
        throw Error("event file: wire type " + std::to_string(field.kind));
    }
    return field;
  }

 private:
  std::string_view rest_;
};

// Of a field with a known number and another wire type nothing is read, as protocol buffers have it.
inline std::pair<std::string, float> read_value(std::string_view bytes) {
  std::pair<std::string, float> value;
  for (WireReader reader(bytes); !reader.at_end();) {
    const WireReader::Field field = reader.field();
    if (field.number == 1 && field.kind == 2) value.first = field.content;
    if (field.number == 2 && field.kind == 5)
      value.second = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
  }
  return value;
}

inline Event read_event(std::string_view bytes) {
  Event event;
  for (WireReader reader(bytes); !reader.at_end();) {
    const WireReader::Field field = reader.field();
    if (field.number == 1 && field.kind == 1) event.wall_time = std::bit_cast<double>(field.value);
    if (field.number == 2 && field.kind == 0) event.step = static_cast<std::int64_t>(field.value);
    if (field.number == 3 && field.kind == 2) event.file_version = field.content;
    if (field.number == 5 && field.kind == 2)
      for (WireReader summary(field.content); !summary.at_end();) {
        const WireReader::Field value = summary.field();
        if (value.number == 1 && value.kind == 2) event.values.push_back(read_value(value.content));
      }
    if (field.number == 7 && field.kind == 2)
      for (WireReader session(field.content); !session.at_end();) {
        const WireReader::Field status = session.field();
        if (status.number == 1 && status.kind == 0) event.starts_session = status.value == 1;
      }
  }
  return event;
}

// All events of a file. Throws Error at the first byte that is not as it should be; `torn_end` allows a last record
// that a killed run left unfinished.
inline std::vector<Event> read_events(std::string_view bytes, bool torn_end = false) {
  std::vector<Event> events;
  for (std::size_t at = 0; at < bytes.size();) {
    WireReader reader(bytes.substr(at));
    const std::uint64_t left = bytes.size() - at;
    if (torn_end && left < 12) break;
    const std::string_view head = reader.take(8);
    GRPO_CHECK(reader.fixed(4) == masked_crc(head), "event file: byte " + std::to_string(at) + ": length fails check");
    const std::uint64_t length = WireReader(head).fixed(8);
    if (torn_end && length > left - 12) break;
    const std::string_view data = reader.take(length);
    if (torn_end && left - 12 - length < 4) break;
    GRPO_CHECK(reader.fixed(4) == masked_crc(data), "event file: byte " + std::to_string(at) + ": data fail check");
    events.push_back(read_event(data));
    at += 16 + data.size();
  }
  return events;
}

}  // namespace grpo::testing
