// Messages between processes of one build: fixed-width numbers and sized texts, as they lie in memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

class FrameWriter {
 public:
  void number(std::uint64_t value);
  void real(double value);
  void text(std::string_view value);
  template <class T>
  void array(std::span<const T> values) {
    text({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }
  const std::string& frame() const { return frame_; }

 private:
  std::string frame_;
};

// Throws Error(Internal) when the frame holds something else.
class FrameReader {
 public:
  explicit FrameReader(std::string_view frame) : rest_(frame) {}
  std::uint64_t number();
  double real();
  std::string_view text();
  template <class T>
  std::vector<T> array() {
    const std::string_view bytes = text();
    if (bytes.size() % sizeof(T) != 0) fail("with half an element");
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) bytes.copy(reinterpret_cast<char*>(values.data()), bytes.size());
    return values;
  }
  bool done() const { return rest_.empty(); }

 private:
  [[noreturn]] static void fail(const char* what);
  std::string_view rest_;
};

}  // namespace grpo::inline GRPO_ABI
