#include "dist/conformance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace grpo::inline GRPO_ABI {

void expect(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what);
}

namespace {

template <typename T>
void expect_same_bits(const std::vector<T>& got, const std::vector<T>& want, const std::string& what) {
  expect(got.size() == want.size(), what + ": sizes differ");
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(T)) == 0) continue;
    throw std::runtime_error(what + ": element " + std::to_string(i) + ": got " + std::to_string(got[i]) + ", want " +
                             std::to_string(want[i]));
  }
}

// What rank `rank` brings: known to all, of magnitudes whose sum depends on the order.
template <typename T>
std::vector<T> input(int rank, std::size_t count) {
  std::vector<T> values(count);
  std::uint32_t state = 12345u + 977u * static_cast<std::uint32_t>(rank);
  for (T& value : values) {
    state = state * 1664525u + 1013904223u;
    const T fraction = static_cast<T>(state >> 8) / static_cast<T>(1 << 24) - T(0.5);
    value = std::ldexp(fraction, static_cast<int>(state % 24u));
  }
  return values;
}

template <typename T>
std::vector<T> reduced(int ranks, std::size_t count, Reduce op) {
  std::vector<T> result = input<T>(0, count);
  for (int r = 1; r < ranks; ++r) {
    const std::vector<T> next = input<T>(r, count);
    for (std::size_t i = 0; i < count; ++i)
      result[i] = op == Reduce::Sum   ? result[i] + next[i]
                  : op == Reduce::Min ? std::min(result[i], next[i])
                                      : std::max(result[i], next[i]);
  }
  return result;
}

std::vector<std::byte> pattern(int rank, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + i / 251 + 7 * static_cast<std::size_t>(rank)) & 255);
  return bytes;
}

std::size_t total(const std::vector<std::size_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

template <typename T>
void check_all_reduce(Communicator& c, std::size_t count, Reduce op) {
  std::vector<T> values = input<T>(c.rank(), count);
  c.all_reduce(std::span<T>(values), op);
  expect_same_bits(values, reduced<T>(c.size(), count, op), "all_reduce of " + std::to_string(count));
}

// Around the size at which the way of moving changes: 64 KiB whole, above it in pieces.
void all_reduce_sums_in_order_of_rank(Communicator& c) {
  for (const std::size_t count : {0u, 1u, 3u, 1000u, 16384u, 16385u, 100003u}) {
    check_all_reduce<float>(c, count, Reduce::Sum);
    check_all_reduce<double>(c, count, Reduce::Sum);
  }
}

void the_sum_would_differ_in_another_order(Communicator& c) {
  if (c.size() < 3) return;
  const std::vector<float> forward = reduced<float>(c.size(), 1000, Reduce::Sum);
  std::vector<float> backward = input<float>(c.size() - 1, 1000);
  for (int r = c.size() - 2; r >= 0; --r)
    for (std::size_t i = 0; i < backward.size(); ++i) backward[i] += input<float>(r, 1000)[i];
  expect(forward != backward, "the inputs do not show the order");
}

void all_reduce_min_and_max(Communicator& c) {
  for (const std::size_t count : {5u, 40000u}) {
    for (const Reduce op : {Reduce::Min, Reduce::Max}) {
      check_all_reduce<float>(c, count, op);
      check_all_reduce<double>(c, count, op);
    }
  }
}

void min_and_max_of_a_nan_are_nan(Communicator& c) {
  for (int r = 0; r < c.size(); ++r) {
    for (const Reduce op : {Reduce::Min, Reduce::Max}) {
      std::vector<float> value{c.rank() == r ? std::numeric_limits<float>::quiet_NaN() : 1.0f};
      c.all_reduce(value, op);
      expect(std::isnan(value[0]), "a NaN of rank " + std::to_string(r) + " was lost");
    }
  }
}

void all_reduce_above_the_chunk(Communicator& c) {
  check_all_reduce<float>(c, (33u << 20) / sizeof(float) + 5, Reduce::Sum);
  check_all_reduce<double>(c, (33u << 20) / sizeof(double) + 1, Reduce::Sum);
}

void check_reduce_scatter(Communicator& c, const std::vector<std::size_t>& counts) {
  const auto self = static_cast<std::ptrdiff_t>(c.rank());
  std::vector<float> values = input<float>(c.rank(), total(counts));
  const std::vector<float> all = reduced<float>(c.size(), values.size(), Reduce::Sum);
  const auto begin = std::accumulate(counts.begin(), counts.begin() + self, std::size_t{0});
  const auto from = all.begin() + static_cast<std::ptrdiff_t>(begin);
  const std::size_t mine = counts[static_cast<std::size_t>(self)];
  const std::vector<float> want(from, from + static_cast<std::ptrdiff_t>(mine));
  std::vector<float> piece(mine, -1);
  c.reduce_scatter(values, counts, piece);
  expect_same_bits(piece, want, "reduce_scatter");
  expect_same_bits(values, input<float>(c.rank(), values.size()), "what reduce_scatter was given");
  const std::span<float> in_place = std::span(values).subspan(begin, mine);
  c.reduce_scatter(values, counts, in_place);
  expect_same_bits({in_place.begin(), in_place.end()}, want, "reduce_scatter in place");
}

// Uneven, with nothing for some rank.
std::vector<std::size_t> uneven(int ranks, std::size_t unit) {
  std::vector<std::size_t> counts(static_cast<std::size_t>(ranks));
  for (std::size_t r = 0; r < counts.size(); ++r) counts[r] = r == 1 ? 0 : unit * (r + 1) + 1;
  return counts;
}

void reduce_scatter(Communicator& c) {
  const auto ranks = static_cast<std::size_t>(c.size());
  check_reduce_scatter(c, std::vector<std::size_t>(ranks, 0));
  check_reduce_scatter(c, std::vector<std::size_t>(ranks, 64));
  check_reduce_scatter(c, uneven(c.size(), 1));
  check_reduce_scatter(c, uneven(c.size(), 30000));
  std::vector<std::size_t> one(ranks, 0);
  one.back() = (17u << 20) / sizeof(float) + 3;  // above the chunk
  check_reduce_scatter(c, one);
}

void check_all_gather(Communicator& c, const std::vector<std::size_t>& counts) {
  std::vector<std::byte> want;
  std::size_t begin = 0;
  for (int r = 0; r < c.size(); ++r) {
    if (r == c.rank()) begin = want.size();
    const std::vector<std::byte> piece = pattern(r, counts[static_cast<std::size_t>(r)]);
    want.insert(want.end(), piece.begin(), piece.end());
  }
  const std::vector<std::byte> piece = pattern(c.rank(), counts[static_cast<std::size_t>(c.rank())]);
  std::vector<std::byte> all(want.size());
  c.all_gather(piece, counts, all);
  expect(all == want, "all_gather");
  std::vector<std::byte> in_place(want.size());
  std::copy(piece.begin(), piece.end(), in_place.begin() + static_cast<std::ptrdiff_t>(begin));
  c.all_gather(std::span(in_place).subspan(begin, piece.size()), counts, in_place);
  expect(in_place == want, "all_gather in place");
}

void all_gather(Communicator& c) {
  const auto ranks = static_cast<std::size_t>(c.size());
  check_all_gather(c, std::vector<std::size_t>(ranks, 0));
  check_all_gather(c, std::vector<std::size_t>(ranks, 100));
  check_all_gather(c, uneven(c.size(), 1));
  check_all_gather(c, uneven(c.size(), 300000));
  std::vector<std::size_t> one(ranks, 7);
  one[0] = (17u << 20) + 3;
  check_all_gather(c, one);
}

void all_gather_of_texts(Communicator& c) {
  const auto text_of = [](int rank) {
    return rank == 0 ? std::string()
                     : std::string(static_cast<std::size_t>(rank) * 40000, static_cast<char>('a' + rank));
  };
  const std::vector<std::string> texts = c.all_gather(text_of(c.rank()));
  expect(texts.size() == static_cast<std::size_t>(c.size()), "all_gather: one text of each rank");
  for (int r = 0; r < c.size(); ++r)
    expect(texts[static_cast<std::size_t>(r)] == text_of(r), "all_gather: text of rank " + std::to_string(r));
}

void check_all_to_all(Communicator& c, std::size_t (*count)(int from, int to)) {
  std::vector<std::byte> send, want;
  std::vector<std::size_t> send_counts, receive_counts;
  for (int r = 0; r < c.size(); ++r) {
    send_counts.push_back(count(c.rank(), r));
    receive_counts.push_back(count(r, c.rank()));
    const std::vector<std::byte> to = pattern(c.rank() + 10 * r, send_counts.back());
    const std::vector<std::byte> from = pattern(r + 10 * c.rank(), receive_counts.back());
    send.insert(send.end(), to.begin(), to.end());
    want.insert(want.end(), from.begin(), from.end());
  }
  std::vector<std::byte> receive(want.size());
  c.all_to_all(send, send_counts, receive, receive_counts);
  expect(receive == want, "all_to_all");
}

void all_to_all(Communicator& c) {
  check_all_to_all(c, [](int, int) { return std::size_t{0}; });
  check_all_to_all(c, [](int, int) { return std::size_t{5}; });
  check_all_to_all(c, [](int from, int to) { return static_cast<std::size_t>((from * 3 + to) % 4) * 50001; });
  check_all_to_all(c, [](int from, int to) { return to == 0 && from != 1 ? (std::size_t{17} << 20) + 1 : 0; });
}

void broadcast(Communicator& c) {
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, std::size_t{65536}, std::size_t{65537}, (std::size_t{17} << 20) + 1}) {
    const int root = c.size() - 1;
    std::vector<std::byte> bytes = c.rank() == root ? pattern(root, count) : std::vector<std::byte>(count);
    c.broadcast(bytes, root);
    expect(bytes == pattern(root, count), "broadcast of " + std::to_string(count) + " bytes");
  }
}

void a_barrier_waits_for_every_rank(Communicator& c) {
  for (int i = 0; i < 100; ++i) c.barrier();
}

void ranks_and_sizes(Communicator& c) {
  expect(c.rank() >= 0 && c.rank() < c.size(), "rank");
  expect(c.local_size() >= 1, "local_size");
  std::vector<float> counted{1};
  c.all_reduce(counted);
  expect(counted[0] == static_cast<float>(c.size()), "size");
}

void groups_by_color_and_key(Communicator& c) {
  Communicator parity = c.split(c.rank() % 2, -c.rank());  // the highest rank comes first
  const int members = (c.size() + 1 - c.rank() % 2) / 2;
  expect(parity.size() == members, "split: size");
  expect(parity.rank() == members - 1 - c.rank() / 2, "split: order by key");
  Communicator halves = c.split(c.rank() * 2 / c.size());
  std::vector<double> sums{1.0, static_cast<double>(c.rank())};
  parity.all_reduce(std::span(sums).first(1));
  halves.all_reduce(std::span(sums).last(1));
  double want = 0;
  for (int r = 0; r < c.size(); ++r) want += r * 2 / c.size() == c.rank() * 2 / c.size() ? r : 0;
  expect(sums[0] == members && sums[1] == want, "split: sums of groups");
  Communicator inner = halves.split(0);
  expect(inner.size() == halves.size() && inner.rank() == halves.rank(), "split of a split");
  inner.barrier();
  c.barrier();
}

// Calls `wrong` in a group of its own, so that only that is lost.
template <typename Wrong>
void expect_disagreement(Communicator& c, const std::string& part, Wrong wrong) {
  Communicator group = c.split(0);
  for (int repeat = 0; repeat < 2; ++repeat) {  // once lost, always the same Error
    std::string message;
    try {
      wrong(group);
    } catch (const Error& error) {
      message = error.what();
    }
    expect(c.size() == 1 ? message.empty() : message.find(part) != std::string::npos,
           "expected a message with \"" + part + "\", got \"" + message + "\"");
  }
}

void calls_that_differ_are_an_error_on_every_rank(Communicator& c) {
  const bool last = c.rank() == c.size() - 1;
  const std::string who = " (rank " + std::to_string(c.size() - 1) + ")";
  std::vector<float> floats(last ? 3 : 4);
  std::vector<double> doubles(2);
  std::vector<std::byte> bytes(8);
  expect_disagreement(c, "all_reduce<float> of 12 bytes, sum" + who, [&](Communicator& g) { g.all_reduce(floats); });
  expect_disagreement(c, "barrier" + who, [&](Communicator& g) { last ? g.barrier() : g.all_reduce(doubles); });
  expect_disagreement(c, "all_reduce<double> of 16 bytes, max" + who,
                      [&](Communicator& g) { g.all_reduce(doubles, last ? Reduce::Max : Reduce::Min); });
  expect_disagreement(c, "broadcast of 8 bytes from rank " + std::to_string(c.size() - 1) + who,
                      [&](Communicator& g) { g.broadcast(bytes, last ? g.size() - 1 : 0); });
  const auto ranks = static_cast<std::size_t>(c.size());
  std::vector<std::size_t> counts(ranks, 4);
  if (last) std::swap(counts.front() += 1, counts.back() -= 1);
  std::vector<std::byte> all(4 * ranks), piece(counts[static_cast<std::size_t>(c.rank())]);
  expect_disagreement(c, "in pieces of checksum", [&](Communicator& g) { g.all_gather(piece, counts, all); });
}

void all_to_all_counts_that_differ_are_an_error_on_every_rank(Communicator& c) {
  const auto ranks = static_cast<std::size_t>(c.size());
  const std::vector<std::size_t> send_counts(ranks, 4);
  std::vector<std::size_t> receive_counts = send_counts;
  if (c.size() > 1 && c.rank() == 1) receive_counts[0] = 5;
  std::vector<std::byte> send(4 * ranks), receive(std::accumulate(receive_counts.begin(), receive_counts.end(), 0u));
  expect_disagreement(c, "rank 1: receive_counts: expected 4, which rank 0 sends, got 5",
                      [&](Communicator& g) { g.all_to_all(send, send_counts, receive, receive_counts); });
}

void an_argument_that_is_wrong_by_itself_costs_nothing(Communicator& c) {
  std::vector<std::byte> bytes(4);
  std::vector<float> floats(4), piece(1);
  const std::vector<std::size_t> counts(static_cast<std::size_t>(c.size()) + 1, 1);
  const auto refused = [&](auto call) {
    try {
      call();
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  expect(refused([&] { c.broadcast(bytes, c.size()); }), "broadcast: a root that is no rank");
  expect(refused([&] { c.broadcast(bytes, -1); }), "broadcast: a root that is no rank");
  expect(refused([&] { c.reduce_scatter(floats, counts, piece); }), "reduce_scatter: a count too many");
  expect(refused([&] { c.all_gather(bytes, counts, bytes); }), "all_gather: a count too many");
  expect(refused([&] { c.set_deadline(-1); }), "a negative deadline");
  c.barrier();
}

constexpr ConformanceCheck kChecks[] = {
    {"ranks_and_sizes", ranks_and_sizes},
    {"all_reduce_sums_in_order_of_rank", all_reduce_sums_in_order_of_rank},
    {"the_sum_would_differ_in_another_order", the_sum_would_differ_in_another_order},
    {"all_reduce_min_and_max", all_reduce_min_and_max},
    {"min_and_max_of_a_nan_are_nan", min_and_max_of_a_nan_are_nan},
    {"all_reduce_above_the_chunk", all_reduce_above_the_chunk},
    {"reduce_scatter", reduce_scatter},
    {"all_gather", all_gather},
    {"all_gather_of_texts", all_gather_of_texts},
    {"all_to_all", all_to_all},
    {"broadcast", broadcast},
    {"a_barrier_waits_for_every_rank", a_barrier_waits_for_every_rank},
    {"groups_by_color_and_key", groups_by_color_and_key},
    {"calls_that_differ_are_an_error_on_every_rank", calls_that_differ_are_an_error_on_every_rank},
    {"all_to_all_counts_that_differ_are_an_error_on_every_rank",
     all_to_all_counts_that_differ_are_an_error_on_every_rank},
    {"an_argument_that_is_wrong_by_itself_costs_nothing", an_argument_that_is_wrong_by_itself_costs_nothing},
};

}  // namespace

std::span<const ConformanceCheck> conformance_checks() { return kChecks; }

}  // namespace grpo::inline GRPO_ABI
