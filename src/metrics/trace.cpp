#include "metrics/trace.h"

#include <fmt/format.h>

#include <filesystem>

namespace grpo::inline GRPO_ABI {
namespace {

double microseconds(auto duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

// A last line that a killed run left torn would make what follows unreadable.
const std::string& without_torn_line(const std::string& path) {
  if (!std::filesystem::exists(path)) return path;
  const std::size_t last_end = read_file(path).rfind('\n');
  std::filesystem::resize_file(path, last_end == std::string::npos ? 0 : last_end + 1);
  return path;
}

}  // namespace

TraceFile::TraceFile(const std::string& path, int rank)
    : file_(without_torn_line(path)),
      rank_(rank),
      start_(Phases::Clock::now()),
      start_us_(microseconds(std::chrono::system_clock::now().time_since_epoch())) {
  if (std::filesystem::file_size(path) > 0) return;
  file_.append(
      fmt::format("[\n{{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": {}, \"tid\": 0, \"args\": {{\"name\": "
                  "\"rank {}\"}}}},\n",
                  rank, rank));
}

void TraceFile::write(const Phases::Span& span) {
  const std::string name = span.path.substr(span.path.rfind('/') + 1);  // its own, npos + 1 being 0
  file_.append(fmt::format(
      "{{\"name\": \"{}\", \"cat\": \"{}\", \"ph\": \"X\", \"ts\": {:.1f}, \"dur\": {:.1f}, \"pid\": {}, \"tid\": "
      "0}},\n",
      name, span.path, start_us_ + microseconds(span.start - start_), microseconds(span.end - span.start), rank_));
}

}  // namespace grpo::inline GRPO_ABI
