#include "base/jsonl.h"

#include <fstream>

namespace grpo::inline GRPO_ABI {

void for_each_jsonl_row(const std::string& path, const std::function<bool(Json row, std::uint64_t end)>& row) {
  std::ifstream file(path, std::ios::binary);
  GRPO_CHECK(file.good(), "cannot read \"" + path + "\"");
  JsonParseOptions options{.source = path};
  std::uint64_t end = 0;
  for (std::string line; std::getline(file, line) && !file.eof(); ++options.first_line) {
    end += line.size() + 1;
    if (!line.empty() && !row(parse_json(line, options), end)) return;
  }
}

}  // namespace grpo::inline GRPO_ABI
