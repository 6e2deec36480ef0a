// What grpo and its reward workers say to each other. Both ends are of one build on one machine.
#pragma once

#include <grpo/reward.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/frame.h"
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

using Writer = FrameWriter;
using Reader = FrameReader;

void write(Writer& writer, const RewardInput& input);
std::shared_ptr<const RewardInput::Data> read_input(Reader& reader);
void write(Writer& writer, const PluginDeclaration& declaration);
PluginDeclaration read_declaration(Reader& reader);

}  // namespace grpo::wire
