#include <grpo/json.h>
#include <grpo/metrics.h>

#include "base/files.h"

namespace grpo::inline GRPO_ABI {
namespace {

class JsonlSink final : public MetricSink {
 public:
  explicit JsonlSink(const std::string& path) : file_(path) {}
  void write(std::int64_t step, const Metrics& metrics) override {
    Json line;
    line["step"] = step;
    for (const auto& [name, value] : metrics) line[name] = value;
    file_.append(line.dump() + "\n");
  }

 private:
  AppendFile file_;
};

}  // namespace

std::unique_ptr<MetricSink> jsonl_sink(const std::string& path) { return std::make_unique<JsonlSink>(path); }

}  // namespace grpo::inline GRPO_ABI
