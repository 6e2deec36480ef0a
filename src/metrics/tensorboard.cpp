// TensorBoard's event files: records of tensorflow.Event, in the framing of TFRecord. Ours, because the packaged
// writers bring TensorFlow or protobuf for what are six fields.
#include <grpo/metrics.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <string_view>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {
namespace {

// CRC-32C (Castagnoli), reflected.
std::uint32_t crc32c(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
      entries[i] = crc;
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

// TFRecord: length, its check, data, its check. A check is a rotated CRC plus a constant.
std::string record(std::string_view data) {
  const auto check = [](std::string_view bytes) {
    return little_endian(static_cast<std::uint32_t>(std::rotr(crc32c(bytes), 15) + 0xA282EAD8u));
  };
  const std::string length = little_endian(static_cast<std::uint64_t>(data.size()));
  return length + check(length) + std::string(data) + check(data);
}

// Fields of protocol buffers.
std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string field(int number, std::uint64_t value) {
  return varint(static_cast<unsigned>(number) << 3) + varint(value);
}
std::string field(int number, double value) {
  return varint(static_cast<unsigned>(number) << 3 | 1) + little_endian(std::bit_cast<std::uint64_t>(value));
}
std::string field(int number, float value) {
  return varint(static_cast<unsigned>(number) << 3 | 5) + little_endian(std::bit_cast<std::uint32_t>(value));
}
std::string field(int number, std::string_view bytes) {
  return varint(static_cast<unsigned>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

// Field numbers of tensorflow/core/util/event.proto and framework/summary.proto.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;  // of Event
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2;                                     // of Summary and its Value
constexpr int kStatus = 1;                                                                // of SessionLog
constexpr std::uint64_t kStart = 1;

class TensorBoardSink final : public MetricSink {
 public:
  explicit TensorBoardSink(const std::string& folder)
      : file_(folder + "/events.out.tfevents." + std::to_string(static_cast<std::int64_t>(now())) + "." +
              std::to_string(::getpid())) {
    file_.append(record(field(kWallTime, now()) + field(kFileVersion, std::string_view("brain.Event:2"))));
  }

  void write(std::int64_t step, const Metrics& metrics) override {
    const std::string head = field(kWallTime, now()) + field(kStep, static_cast<std::uint64_t>(step));
    std::string records;
    if (!started_) {
      // What an earlier file of this folder says of this step and later ones is void: a run was resumed.
      records += record(head + field(kSessionLog, std::string_view(field(kStatus, kStart))));
      started_ = true;
    }
    std::string summary;
    for (const auto& [name, value] : metrics)
      summary += field(kValue, std::string_view(field(kTag, std::string_view(name)) +
                                                field(kSimpleValue, static_cast<float>(value))));
    file_.append(records + record(head + field(kSummary, std::string_view(summary))));
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }

  AppendFile file_;
  bool started_ = false;
};

}  // namespace

std::unique_ptr<MetricSink> tensorboard_sink(const std::string& folder) {
  return std::make_unique<TensorBoardSink>(folder);
}

}  // namespace grpo::inline GRPO_ABI
