// Addressed randomness: a draw is a function of (seed, address) and of nothing else.
//
// The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Pure
// functions, thread-safe. The mapping below is frozen: runs of the past must stay reproducible.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace grpo::inline GRPO_ABI {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

PhiloxCounter philox4x32_10(PhiloxCounter counter, PhiloxKey key);

// What the draws of one use are for; each value is a stream of its own.
enum class RandomStage : std::uint32_t {
  Sampling = 1,
  Shuffle = 2,
  Minibatch = 3,
  Evaluation = 4,
  Init = 5,
  Tasks = 6
};

// Where a draw belongs. `row` identifies the prompt, `occurrence` counts its uses within one step.
struct RandomAddress {
  std::uint32_t stage = static_cast<std::uint32_t>(RandomStage::Sampling);
  std::uint64_t step = 0;
  std::uint64_t row = 0;
  std::uint64_t occurrence = 0;
  std::uint64_t sample = 0;
  std::uint64_t position = 0;
};

// 64 random bits. With lo and hi the halves of a 64-bit value and P(counter, key) the generator:
//   k0 = {lo(seed), hi(seed)}
//   a  = P({lo(step), hi(step), lo(row), hi(row)}, k0)
//   b  = P({lo(occurrence), hi(occurrence), stage, 0}, {a[0], a[1]})
//   c  = P({lo(position), hi(position), lo(sample), hi(sample)}, {b[0] ^ a[2], b[1] ^ a[3]})
//   bits = c[0] | c[1] << 32
std::uint64_t random_bits(std::uint64_t seed, const RandomAddress& address);

// The top 53 bits of random_bits as a multiple of 2^-53 in [0, 1).
double uniform(std::uint64_t seed, const RandomAddress& address);

// All of an address but `position`, worked out once: at(position) equals random_bits / uniform at that position.
class RandomSequence {
 public:
  RandomSequence(std::uint64_t seed, const RandomAddress& address);
  std::uint64_t bits_at(std::uint64_t position) const;
  double at(std::uint64_t position) const;

 private:
  PhiloxKey key_;
  std::uint64_t sample_;
};

// An integer in [0, bound), without bias; `bound` > 0. Positions from address.position on are tried in turn (with
// overwhelming probability only the first), so give each draw an address that differs in more than its position.
std::uint64_t random_below(std::uint64_t bound, std::uint64_t seed, RandomAddress address);

// 0 ... n-1 in an order fixed by (seed, stage, stream): Fisher-Yates from the end, draw i at {row = stream, sample =
// i}.
std::vector<std::int64_t> permutation(std::int64_t n, std::uint64_t seed, std::uint64_t stream,
                                      RandomStage stage = RandomStage::Shuffle);

}  // namespace grpo::inline GRPO_ABI
