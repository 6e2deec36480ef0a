#include "reward/template_similarity.h"

#include <algorithm>
#include <cmath>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kPieces = kNumTags + 1, kEdge = kPieces;  // kEdge: the start and the end, as a neighbour
using Features = std::array<double, kPieces + (kPieces + 1) * (kPieces + 1)>;

Features features(const std::vector<Piece>& pieces) {
  Features counts{};
  std::size_t before = kEdge;
  const auto add_pair = [&](std::size_t next) {
    ++counts[kPieces + before * (kPieces + 1) + next];
    before = next;
  };
  for (const Piece piece : pieces) {
    const auto index = static_cast<std::size_t>(piece);
    ++counts[index];
    add_pair(index);
  }
  add_pair(kEdge);
  return counts;
}

double dot(const Features& a, const Features& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

double template_similarity(const std::vector<Piece>& pieces, const std::vector<Piece>& pattern) {
  const bool has_tag = std::any_of(pieces.begin(), pieces.end(), [](Piece piece) { return piece != Piece::Text; });
  if (!has_tag) return 0;
  const Features v = features(pieces), w = features(pattern);
  const auto n = static_cast<double>(pieces.size()), m = static_cast<double>(pattern.size());
  return dot(v, w) / std::sqrt(dot(v, v) * dot(w, w)) * std::min(n, m) / std::max(n, m);
}

}  // namespace grpo::inline GRPO_ABI
