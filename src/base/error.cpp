#include <grpo/error.h>

namespace grpo::detail {

void assertion_failed(const char* condition, const char* file, int line) {
  throw Error(std::string(file) + ":" + std::to_string(line) + ": broken invariant: " + condition, ErrorKind::Internal);
}

}  // namespace grpo::detail
