#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {

void detail::assertion_failed(const char* condition, const char* file, int line) {
  throw Error(std::string(file) + ":" + std::to_string(line) + ": broken invariant: " + condition, ErrorKind::Internal);
}

}  // namespace grpo::inline GRPO_ABI
