// The page around a report: its style and its script.
#pragma once

#include <string>

namespace grpo::inline GRPO_ABI {

// `title` and `body` are HTML; `data` is the JSON list of chart_data(), one for each figure of the body, without '<'.
std::string report_page(const std::string& title, const std::string& body, const std::string& data);

}  // namespace grpo::inline GRPO_ABI
