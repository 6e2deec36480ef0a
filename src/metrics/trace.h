// A trace of spans that Perfetto and chrome://tracing open.
#pragma once

#include <cstdint>
#include <string>

#include "base/files.h"
#include "metrics/phases.h"

namespace grpo::inline GRPO_ABI {

// JSON array of complete events, one a line, appended as they end. The array stays open, as the format allows, so the
// file of a killed run is as good as any. An existing file is continued behind its last whole line; times are those of
// the system's clock at the start, counted on by a steady one.
class TraceFile {
 public:
  TraceFile(const std::string& path, int rank);
  void write(const Phases::Span& span);

 private:
  AppendFile file_;
  int rank_;
  Phases::Clock::time_point start_;
  double start_us_;  // the same moment, in microseconds since 1970
};

}  // namespace grpo::inline GRPO_ABI
