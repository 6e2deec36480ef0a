#include "base/random.h"

#include <numeric>
#include <utility>

#include <grpo/error.h>

namespace grpo::inline GRPO_ABI {
namespace {

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

double to_unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace

PhiloxCounter philox4x32_10(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t second = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(second) ^ counter[1] ^ key[0], low(second), high(first) ^ counter[3] ^ key[1], low(first)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

RandomSequence::RandomSequence(std::uint64_t seed, const RandomAddress& address) : sample_(address.sample) {
  const PhiloxCounter a = philox4x32_10({low(address.step), high(address.step), low(address.row), high(address.row)},
                                        {low(seed), high(seed)});
  const PhiloxCounter b =
      philox4x32_10({low(address.occurrence), high(address.occurrence), address.stage, 0}, {a[0], a[1]});
  key_ = {b[0] ^ a[2], b[1] ^ a[3]};
}

std::uint64_t RandomSequence::bits_at(std::uint64_t position) const {
  const PhiloxCounter c = philox4x32_10({low(position), high(position), low(sample_), high(sample_)}, key_);
  return c[0] | std::uint64_t{c[1]} << 32;
}

double RandomSequence::at(std::uint64_t position) const { return to_unit(bits_at(position)); }

std::uint64_t random_bits(std::uint64_t seed, const RandomAddress& address) {
  return RandomSequence(seed, address).bits_at(address.position);
}

double uniform(std::uint64_t seed, const RandomAddress& address) { return to_unit(random_bits(seed, address)); }

std::uint64_t random_below(std::uint64_t bound, std::uint64_t seed, RandomAddress address) {
  GRPO_ASSERT(bound > 0);
  const std::uint64_t excess = (0 - bound) % bound;  // 2^64 mod bound: the bits below it are thrown away
  const RandomSequence sequence(seed, address);
  while (true) {
    const std::uint64_t bits = sequence.bits_at(address.position++);
    if (bits >= excess) return bits % bound;
  }
}

std::vector<std::int64_t> permutation(std::int64_t n, std::uint64_t seed, std::uint64_t stream, RandomStage stage) {
  GRPO_ASSERT(n >= 0);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::size_t i = order.size(); i > 1; --i) {
    const RandomAddress address{.stage = static_cast<std::uint32_t>(stage), .row = stream, .sample = i};
    std::swap(order[i - 1], order[static_cast<std::size_t>(random_below(i, seed, address))]);
  }
  return order;
}

}  // namespace grpo::inline GRPO_ABI
