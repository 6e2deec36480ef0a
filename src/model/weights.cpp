#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "base/random.h"
#include "model/gguf.h"

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::size_t kListedProblems = 20;

bool same_bytes(const StoredTensor& a, const StoredTensor& b) {
  if (a.type != b.type || a.shape != b.shape) return false;
  std::vector<std::byte> of_a(a.size), of_b(b.size);
  a.read(of_a.data());
  b.read(of_b.data());
  return of_a == of_b;
}

// Extra tensors that say nothing of their own: rotary tables of old files, and the copy of a tied embedding.
bool is_redundant(const StoredTensor& tensor, const StoredTensor* tied_to) {
  constexpr std::string_view kTable = ".rotary_emb.inv_freq";
  const std::string_view name = tensor.name;
  if (name.size() > kTable.size() && name.substr(name.size() - kTable.size()) == kTable) return true;
  return name == kHeadName && tied_to && same_bytes(tensor, *tied_to);
}

[[noreturn]] void report(const std::string& path, const std::vector<std::string>& problems) {
  std::string text = fmt::format("{}: the weights do not fit the configuration ({} tensors):", path, problems.size());
  const std::size_t listed = std::min(problems.size(), kListedProblems);
  for (std::size_t i = 0; i < listed; ++i) text += "\n  " + problems[i];
  if (listed < problems.size()) text += fmt::format("\n  and {} more", problems.size() - listed);
  throw Error(text);
}

// FNV-1a, 64 bits.
std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

std::vector<const StoredTensor*> match_weights(const WeightFile& file, const std::vector<WeightSpec>& specs) {
  std::unordered_map<std::string_view, const StoredTensor*> unused;
  for (const StoredTensor& tensor : file.tensors) unused.emplace(tensor.name, &tensor);
  std::vector<const StoredTensor*> matched;
  std::vector<std::string> problems;
  for (const WeightSpec& spec : specs) {
    const std::string& name = file.format == WeightFormat::Gguf ? spec.gguf_name : spec.name;
    const auto found = unused.find(name);
    if (found == unused.end()) {
      problems.push_back("missing: " + name + " " + shape_text(spec.shape));
      continue;
    }
    const StoredTensor& tensor = *found->second;
    unused.erase(found);
    if (tensor.shape != spec.shape) {
      problems.push_back("misshapen: " + name + ": expected " + shape_text(spec.shape) + ", got " +
                         shape_text(tensor.shape));
    } else if (!is_floating(tensor.type)) {
      problems.push_back("mistyped: " + name + ": expected floating-point elements, got " + info(tensor.type).name);
    }
    matched.push_back(&tensor);
  }
  const StoredTensor* embedding = matched.empty() || matched[0]->name != kEmbeddingName ? nullptr : matched[0];
  for (const StoredTensor& tensor : file.tensors) {  // the file's order, not the map's
    if (unused.count(tensor.name) != 0 && !is_redundant(tensor, embedding)) {
      problems.push_back("extra: " + tensor.name + " " + shape_text(tensor.shape));
    }
  }
  if (!problems.empty()) report(file.path, problems);
  return matched;
}

at::Tensor read_weight(const StoredTensor& tensor, const WeightSpec& spec, WeightFormat format) {
  const at::Tensor values = decode(tensor);
  if (format == WeightFormat::HuggingFace || spec.gguf_paired_heads == 0) return values;
  return unpair_rows(values, spec.gguf_paired_heads);
}

// Elements 2i and 2i + 1 are one Box-Muller pair of the 64 bits at position i.
at::Tensor initial_weight(const WeightSpec& spec, std::int64_t seed, double range) {
  if (spec.init == WeightInit::One) return at::ones(spec.shape, at::kFloat);
  if (spec.init == WeightInit::Zero) return at::zeros(spec.shape, at::kFloat);
  at::Tensor values = at::empty(spec.shape, at::kFloat);
  const std::int64_t count = values.numel();
  const RandomSequence random(static_cast<std::uint64_t>(seed),
                              {.stage = static_cast<std::uint32_t>(RandomStage::Init), .row = hash_name(spec.name)});
  auto* to = values.data_ptr<float>();
  at::parallel_for(0, (count + 1) / 2, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint64_t bits = random.bits_at(static_cast<std::uint64_t>(i));
      const double radius = std::sqrt(-2 * std::log((static_cast<double>(bits >> 32) + 0.5) * 0x1p-32)) * range;
      const double angle = 2 * 3.141592653589793 * static_cast<double>(bits & 0xffffffff) * 0x1p-32;
      to[2 * i] = static_cast<float>(radius * std::cos(angle));
      if (2 * i + 1 < count) to[2 * i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
  return values;
}

}  // namespace grpo::inline GRPO_ABI
