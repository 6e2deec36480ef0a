#include "base/nearest.h"

#include <algorithm>

namespace grpo::inline GRPO_ABI {

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> before(b.size() + 1), last(b.size() + 1), current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, current);
  }
  return last[b.size()];
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 64;  // nothing longer is a mistyped name, and the cost is quadratic
  if (name.empty() || name.size() > kLongest) return "";
  int best = name.size() <= 4 ? 2 : 3;
  std::string found;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    const int distance = edit_distance(name, candidate);
    if (distance < best && static_cast<std::size_t>(distance) < candidate.size()) {
      best = distance;
      found = candidate;
    }
  }
  if (!found.empty()) return found;
  for (const std::string& candidate : candidates) {
    const std::size_t shared = std::min(name.size(), candidate.size());
    if (shared >= 3 && name.substr(0, shared) == std::string_view(candidate).substr(0, shared)) return candidate;
  }
  return "";
}

std::string nearest_hint(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string found = nearest(name, candidates);
  return found.empty() ? "" : " (did you mean \"" + found + "\"?)";
}

}  // namespace grpo::inline GRPO_ABI
