// What grpo and its reward workers say to each other: frames of fixed-width numbers and sized texts.
//
// Both ends are of one build on one machine, so numbers travel as they lie in memory.
#pragma once

#include <grpo/reward.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "reward/plugin_library.h"

namespace grpo::wire {

// Raised with every change of what follows; the worker refuses another.
inline constexpr std::uint64_t kProtocol = 1;

enum class Op : std::uint64_t {
  Open,      // protocol, path, type                  -> declaration
  Create,    // name, values as a JSON list           -> min, max
  Score,     // number of answers, the answers        -> per answer: score, verdict, why
  Applies,   // an answer                             -> 0 or 1
  CheckRow,  // row as JSON, has reference, reference -> nothing
};
enum class Reply : std::uint64_t { Done, Failed };  // Failed: followed by a text

class Writer {
 public:
  void number(std::uint64_t value);
  void real(double value);
  void text(std::string_view value);
  const std::string& frame() const { return frame_; }

 private:
  std::string frame_;
};

// Throws Error(Internal) when the frame holds something else.
class Reader {
 public:
  explicit Reader(std::string_view frame) : rest_(frame) {}
  std::uint64_t number();
  double real();
  std::string_view text();

 private:
  std::string_view rest_;
};

void write(Writer& writer, const RewardInput& input);
std::shared_ptr<const RewardInput::Data> read_input(Reader& reader);
void write(Writer& writer, const PluginDeclaration& declaration);
PluginDeclaration read_declaration(Reader& reader);

}  // namespace grpo::wire
