#include "model/families.h"

#include "model/llama.h"
#include "model/qwen2.h"
#include "model/qwen3.h"

namespace grpo::inline GRPO_ABI {

std::span<const Family> families() {
  static const Family kFamilies[] = {
      llama_family(),
      qwen2_family(),
      qwen3_family(),
  };
  return kFamilies;
}

const Family& family_named(std::string_view model_type) {
  std::string known;
  for (const Family& family : families()) {
    if (family.model_type == model_type) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  throw Error("model_type: expected one of " + known + ", got \"" + std::string(model_type) + "\"");
}

}  // namespace grpo::inline GRPO_ABI
