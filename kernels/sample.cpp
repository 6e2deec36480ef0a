// One draw from a row of logits. Probabilities are relative to the row's maximum until the end.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "kernels/softmax.h"
#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

struct Row {
  const float* logits;
  std::int64_t vocab;
  float inv_temperature;
  const VectorKernels& kernels;
  std::span<const ChunkStats> chunks;
  RowStats stats;

  std::int64_t chunk_size(std::int64_t chunk) const { return std::min(kVocabChunk, vocab - chunk * kVocabChunk); }
  // exp(z - shift) of a chunk.
  void exp_chunk(std::int64_t chunk, float shift, float* to) const {
    kernels.exp(logits + chunk * kVocabChunk, inv_temperature, shift, chunk_size(chunk), to);
  }
  double chunk_mass(std::int64_t chunk) const {
    const ChunkStats& c = chunks[chunk];
    return c.sum == 0 ? 0 : std::exp(static_cast<double>(c.max) - stats.max) * c.sum;
  }
};

Draw greedy(const Row& row) {
  const float max = static_cast<float>(row.stats.max);
  const auto chunk =
      std::find_if(row.chunks.begin(), row.chunks.end(), [&](const ChunkStats& c) { return c.max == max; });
  const float* from = row.logits + (chunk - row.chunks.begin()) * kVocabChunk;
  const float* found = std::find(from, row.logits + row.vocab, max);
  return {static_cast<std::int32_t>(found - row.logits), logprob(max, 1, row.stats)};
}

Draw draw_whole(const Row& row, double u) {
  double total = 0;
  const std::int64_t num_chunks = static_cast<std::int64_t>(row.chunks.size());
  for (std::int64_t c = 0; c < num_chunks; ++c) total += row.chunk_mass(c);
  // What rounding leaves over falls to the last chunk with a mass, and in it to the last entry with one.
  double before = 0, rest = 0;
  std::int64_t chosen = -1;
  for (std::int64_t c = 0; c < num_chunks; ++c) {
    const double mass = row.chunk_mass(c);
    if (mass == 0) continue;
    chosen = c;
    rest = u * total - before;
    if (rest < mass) break;
    before += mass;
  }
  float e[kVocabChunk];
  const float chunk_max = row.chunks[chosen].max;
  row.exp_chunk(chosen, chunk_max, e);
  rest /= std::exp(static_cast<double>(chunk_max) - row.stats.max);
  double sum = 0;
  std::int64_t token = -1;
  for (std::int64_t i = 0; i < row.chunk_size(chosen); ++i) {
    if (e[i] == 0) continue;
    token = chosen * kVocabChunk + i;
    sum += e[i];
    if (rest < sum) break;
  }
  return {static_cast<std::int32_t>(token), logprob(row.logits[token], row.inv_temperature, row.stats)};
}

struct Candidate {
  float z, weight;  // weight = exp(z - max)
  std::int32_t id;
};

bool likelier(const Candidate& a, const Candidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

// A lower bound of the k-th largest z: there are k chunks whose maximum reaches it.
float top_k_floor(const Row& row, std::int64_t k) {
  if (k == 0 || k > static_cast<std::int64_t>(row.chunks.size())) return -std::numeric_limits<float>::infinity();
  std::vector<float> maxima;
  for (const ChunkStats& c : row.chunks) maxima.push_back(c.max);
  std::nth_element(maxima.begin(), maxima.begin() + (k - 1), maxima.end(), std::greater<>());
  return maxima[k - 1];
}

// Entries with z >= z_floor and weight >= weight_floor (and > 0), in id order.
std::vector<Candidate> candidates_above(const Row& row, float z_floor, double weight_floor) {
  std::vector<Candidate> found;
  float e[kVocabChunk];
  for (std::int64_t c = 0; c < static_cast<std::int64_t>(row.chunks.size()); ++c) {
    if (row.chunks[c].max < z_floor) continue;
    row.exp_chunk(c, static_cast<float>(row.stats.max), e);
    for (std::int64_t i = 0; i < row.chunk_size(c); ++i) {
      const std::int64_t id = c * kVocabChunk + i;
      const float z = row.logits[id] * row.inv_temperature;
      if (e[i] > 0 && e[i] >= weight_floor && z >= z_floor) found.push_back({z, e[i], static_cast<std::int32_t>(id)});
    }
  }
  return found;
}

// Cuts `list` to its likeliest entries, as few as reach `mass` (all, if they do not). Halves the part in question each
// time: the entries before `begin` are kept and weigh less than `mass`, those from `end` on are not needed.
void keep_mass(std::vector<Candidate>& list, double mass) {
  auto begin = list.begin(), end = list.end();
  double sum = 0;
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, likelier);
    double half = 0;
    for (auto c = begin; c != middle; ++c) half += c->weight;
    if (sum + half >= mass) {
      end = middle;
    } else {
      sum += half;
      begin = middle;
    }
  }
  list.erase(begin + 1, list.end());
}

double total_weight(const std::vector<Candidate>& list) {
  double total = 0;
  for (const Candidate& c : list) total += c.weight;
  return total;
}

std::vector<Candidate> kept_set(const Row& row, const DrawOptions& options) {
  const std::int64_t k = options.top_k > 0 && options.top_k < row.vocab ? options.top_k : 0;
  const bool nucleus = options.top_p < 1;
  const double top_p = std::clamp<double>(options.top_p, 0, 1), min_p = std::clamp<double>(options.min_p, 0, 1);
  const double row_mass = std::exp(row.stats.log_sum);
  // Before the exact rules, entries that no rule can keep: without top_k, all those below this floor together weigh
  // less than half of what top_p cuts off; with top_p, min_p must wait, since the mass spans what it drops.
  double floor = 0;
  if (nucleus && k == 0) floor = 0.5 * (1 - top_p) * row_mass / static_cast<double>(row.vocab);
  if (!nucleus && k == 0) floor = min_p;
  std::vector<Candidate> list = candidates_above(row, top_k_floor(row, k), floor);
  if (k > 0 && k < static_cast<std::int64_t>(list.size())) {
    std::nth_element(list.begin(), list.begin() + k, list.end(), likelier);
    list.resize(k);
  }
  if (nucleus) keep_mass(list, top_p * (k > 0 ? total_weight(list) : row_mass));
  list.erase(std::remove_if(list.begin(), list.end(), [&](const Candidate& c) { return c.weight < min_p; }),
             list.end());
  std::sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  return list;
}

Draw draw_truncated(const Row& row, const DrawOptions& options, double u) {
  const std::vector<Candidate> kept = kept_set(row, options);
  const double total = total_weight(kept);
  double sum = 0;
  Candidate chosen = kept.back();
  for (const Candidate& c : kept) {
    sum += c.weight;
    if (u * total < sum) {
      chosen = c;
      break;
    }
  }
  const double log_p = (static_cast<double>(chosen.z) - row.stats.max) - std::log(total);
  return {chosen.id, static_cast<float>(log_p)};
}

}  // namespace

void head_logits(const HeadArgs& args, Isa isa, const Team& team) {
  constexpr std::int64_t kSlab = 4 * kVocabChunk;  // whose logits stay near the core until their statistics are taken
  const std::int64_t slabs = (args.vocab + kSlab - 1) / kSlab, num_chunks = vocab_chunks(args.vocab);
  share_units(team, slabs, slabs, [&](const auto& next) {
    for (std::int64_t slab = next(); slab >= 0; slab = next()) {
      const std::int64_t first = slab * kSlab, last = std::min(first + kSlab, args.vocab);
      const LinearArgs product{.type = args.type,
                               .x = args.hidden,
                               .rows = args.rows,
                               .in = args.width,
                               .x_stride = args.width,
                               .weight = args.weight,
                               .out = args.vocab,
                               .first = first,
                               .last = last,
                               .y_type = Type::F32,
                               .y = args.logits + first,
                               .y_stride = args.vocab};
      linear_each(&product, 1, isa);
      chunk_stats(args.logits + first, args.rows, last - first, args.vocab, args.inv_temperature,
                  args.stats + first / kVocabChunk, num_chunks, isa, Team{});
    }
  });
}

Draw draw(const float* logits, const ChunkStats* stats, std::int64_t vocab, const DrawOptions& options, double u,
          Isa isa) {
  const std::span<const ChunkStats> chunks(stats, static_cast<std::size_t>(vocab_chunks(vocab)));
  const Row row{
      logits, vocab, draw_scale(options), vector_kernels(isa), chunks, merge_stats(stats, vocab_chunks(vocab))};
  if (!std::isfinite(row.stats.log_sum)) return {-1, std::numeric_limits<float>::quiet_NaN()};
  if (options.temperature == 0) return greedy(row);
  const bool whole = (options.top_k <= 0 || options.top_k >= vocab) && options.top_p >= 1 && options.min_p <= 0;
  return whole ? draw_whole(row, u) : draw_truncated(row, options, u);
}

}  // namespace grpo::kernels
