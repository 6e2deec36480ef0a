// A parsed chat template with its defaults: what ChatTemplate wraps, and the marks that the loss mask needs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpo/json.h>

#include "text/jinja_parser.h"

namespace grpo::inline GRPO_ABI {

struct RenderedChat {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> generated;  // bytes in {% generation %} blocks, in order
};

class ChatRenderer {
 public:
  ChatRenderer(std::string_view source, const Json& defaults, const std::string& source_name);
  RenderedChat render(const Json& messages, bool add_generation_prompt, const Json& variables) const;
  bool marks_generation() const { return tree_.has_generation; }

 private:
  std::string source_name_;
  jinja::Tree tree_;
  Json defaults_;
};

}  // namespace grpo::inline GRPO_ABI
